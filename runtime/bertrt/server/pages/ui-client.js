// The server's HTTP API, as the page needs it. Paths are relative: a prefix may be before them.

const KEY_NAME = "bertrt-api-key";
const UNREACHABLE =
  "The server cannot be reached. Check that it runs and that you are connected, then try again.";

/** What went wrong, in words for people. `retryAfter`: seconds, where trying again may help. */
export class ApiError extends Error {
  constructor(message, { status = 0, retryAfter = 0 } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function apiKey() {
  try {
    return sessionStorage.getItem(KEY_NAME) ?? "";
  } catch {
    return ""; // storage is switched off in this browser
  }
}

/** Keep the key for as long as the tab is open. */
export function setApiKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY_NAME, key);
    else sessionStorage.removeItem(KEY_NAME);
  } catch {
    throw new ApiError("This browser does not let the page keep the key: allow site data for it.");
  }
}

/** What is served, and its limits. */
export async function loadInfo() {
  return (await send("info")).data;
}

/** One of the models by its name: labels, activation, limits. */
export async function describeModel(info, name) {
  if (name === info.models[0]) return defaultModel(info);
  // `info` is about the first model only.
  const { parameters } = (await send(`v2/models/${pathOf(name)}`)).data;
  return {
    name,
    path: `models/${pathOf(name)}`,
    labels: parameters.labels,
    activation: parameters.activation,
    maxTokens: parameters.max_length,
    precision: { fp32: "float32" }[parameters.precision] ?? parameters.precision, // as in `info`
    provider: parameters.execution_provider,
  };
}

function defaultModel(info) {
  const { id2label } = info.model_type.classifier ?? info.model_type.reranker;
  return {
    name: info.models[0],
    path: null,
    labels: Object.values(id2label), // in order: JavaScript sorts keys that are whole numbers
    activation: info.activation,
    maxTokens: info.max_input_length,
    precision: info.model_dtype,
    provider: info.execution_provider,
  };
}

/**
 * Every label's score for each input, which is a list of one text, or of two for a pair.
 *
 * `answers`: a list of `{label, score}` for each input, best first. `truncated`: the positions of
 * the inputs that were cut. `stages`: milliseconds, by name. `elapsed`: milliseconds until the
 * whole answer was here.
 */
export async function classify(model, inputs, signal) {
  const [path, body] =
    model.path === null
      ? ["predict", { inputs }]
      : [model.path, { inputs: inputs.map(huggingFaceInput), parameters: {} }];
  const { data, headers, elapsed } = await send(path, { body, signal });
  if (!Array.isArray(data) || data.length !== inputs.length || !data.every(Array.isArray)) {
    throw new ApiError("The server gave an answer that this page does not understand.");
  }
  const truncated = headers.get("x-truncated");
  return {
    answers: data,
    truncated: new Set(truncated ? truncated.split(",").map(Number) : []),
    tokens: numberFrom(headers, "x-compute-tokens"),
    stages: {
      tokenization: numberFrom(headers, "x-tokenization-time"),
      queue: numberFrom(headers, "x-queue-time"),
      inference: numberFrom(headers, "x-inference-time"),
      total: numberFrom(headers, "x-total-time"),
    },
    elapsed,
  };
}

function huggingFaceInput([text, second]) {
  return second === undefined ? text : { text, text_pair: second };
}

/** A model's name in a path; slashes stay, because the server's routes have them. */
function pathOf(name) {
  return name.split("/").map(encodeURIComponent).join("/");
}

/** A header as a number; null where a proxy has taken it away. */
function numberFrom(headers, name) {
  const value = Number.parseFloat(headers.get(name) ?? "");
  return Number.isFinite(value) ? value : null;
}

async function send(path, { body, signal } = {}) {
  const options = { headers: authorization(), signal, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const began = performance.now();
  const [response, text] = await received(path, options);
  const elapsed = performance.now() - began;
  if (!response.ok) throw failure(response, text);
  return { data: parsed(text), headers: response.headers, elapsed };
}

function authorization() {
  const key = apiKey();
  if (!key) return {};
  if (!/^[\x20-\x7e]+$/.test(key)) {
    const message = "The API key has characters that an HTTP header cannot carry.";
    throw new ApiError(message, { status: 401 });
  }
  return { Authorization: `Bearer ${key}` };
}

async function received(path, options) {
  try {
    const response = await fetch(path, options);
    return [response, await response.text()];
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(UNREACHABLE);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError("The server gave an answer that is not JSON. Is a proxy in between?");
  }
}

function failure(response, text) {
  const { status } = response;
  const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10) || 1;
  const mayRetry = [408, 429, 502, 503, 504].includes(status);
  return new ApiError(messageOf(response, text), { status, retryAfter: mayRetry ? retryAfter : 0 });
}

/** The server's sentence; a proxy in between may have answered with something else. */
function messageOf(response, text) {
  if (response.status === 401) {
    return `The server ${apiKey() ? "does not accept this API key" : "asks for an API key"}.`;
  }
  let message;
  try {
    message = JSON.parse(text).error;
  } catch {
    // not JSON
  }
  if (typeof message === "string" && message) return sentence(message);
  return sentence(`The server answered ${response.status} ${response.statusText}`.trimEnd());
}

function sentence(message) {
  const ended = /[.!?]$/.test(message) ? message : `${message}.`;
  return ended.charAt(0).toUpperCase() + ended.slice(1);
}
