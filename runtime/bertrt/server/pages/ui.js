// The playground: what its controls do.

import { ApiError, apiKey, classify, describeModel, loadInfo, setApiKey } from "./ui-client.js";
import { answered, parseLines, portions, problemOf } from "./ui-lines.js";
import { LinesTable } from "./ui-table.js";
import {
  FIRST_LABELS,
  activationNote,
  count,
  cutNotice,
  element,
  latencyView,
  milliseconds,
  scoreBars,
  scoreText,
  tokensView,
  whole,
} from "./ui-view.js";

const REDRAW_EVERY = 500; // milliseconds
const RETRY_LOADING_AFTER = 2000; // milliseconds
const TRIES = 4;

const $ = (id) => document.getElementById(id);

// info: what the server says of itself. model: a promise of the chosen model's description.
// running: the AbortController of what is on its way. ranked: the last text's labels, best first.
const state = { info: null, model: null, running: null, ranked: [], allLabels: false };

const table = new LinesTable({
  head: $("lines-head"),
  body: $("lines-body"),
  summary: $("lines-summary"),
  more: $("rows-more"),
  shown: $("rows-count"),
});

// The server and its models

async function start() {
  state.info = state.model = null;
  try {
    state.info = await loadInfo();
  } catch (error) {
    $("model-name").textContent = "–";
    report(error);
    // The model is still loading: nobody should have to press a button for that.
    if (error.status === 503) setTimeout(start, RETRY_LOADING_AFTER);
    return;
  }
  showModelNames(state.info.models);
  await chooseModel(state.info.models[0]);
}

function showModelNames(names) {
  const several = names.length > 1;
  $("model").replaceChildren(...names.map((name) => element("option", { text: name })));
  $("model").hidden = !several;
  $("model-name").hidden = several;
  $("model-name").textContent = names[0];
}

async function chooseModel(name) {
  stopRunning();
  clearProblem();
  clearResults();
  const described = (state.model = describeModel(state.info, name));
  try {
    const model = await described;
    if (state.model === described) showFacts(model);
  } catch (error) {
    if (state.model !== described) return; // another one was chosen meanwhile
    state.model = null; // so that the next try asks again
    report(error);
  }
}

function showFacts({ precision, provider, maxTokens }) {
  $("fact-precision").textContent = precision;
  $("fact-provider").textContent = provider.replace(/ExecutionProvider$/, "");
  $("fact-provider").title = provider;
  $("fact-length").textContent = count(maxTokens, "token");
  $("fact-version").textContent = state.info.version;
}

/** The chosen model's description; asks the server again if that has failed before. */
async function currentModel() {
  if (state.info === null) {
    state.info = await loadInfo();
    showModelNames(state.info.models);
  }
  state.model ??= describeModel(state.info, $("model").value);
  try {
    const model = await state.model;
    showFacts(model);
    return model;
  } catch (error) {
    state.model = null;
    throw error;
  }
}

// One text or pair

async function classifyOne(signal) {
  const input = mode() === "pair" ? [$("first").value, $("second").value] : [$("first").value];
  if (input.every((text) => text === "")) {
    $("first").focus();
    throw new ApiError("There is no text yet: type one first.");
  }
  const model = await currentModel();
  const result = await classify(model, [input], signal);
  showResult(model, result);
}

function showResult(model, result) {
  state.ranked = result.answers[0];
  state.allLabels = false;
  $("cut").hidden = !result.truncated.has(0);
  $("cut").textContent = cutNotice(model.maxTokens, state.info.truncation_direction);
  $("scores-note").textContent = activationNote(model.activation, model.labels.length);
  showScores(model.activation);
  $("latency").replaceChildren(...latencyView(result));
  $("tokens").replaceChildren(...tokensView(result.tokens, model.maxTokens));
  $("one-result").hidden = false;
  const [best] = state.ranked;
  setStatus(
    `Answered in ${milliseconds(result.elapsed)}`,
    `${best.label}, ${scoreText(best.score)}.`,
  );
}

function showScores(activation) {
  const { ranked, allLabels } = state;
  const bars = scoreBars(ranked, activation, allLabels ? Infinity : FIRST_LABELS);
  $("scores").replaceChildren(...bars);
  $("scores").classList.toggle("long", bars.length > FIRST_LABELS);
  $("scores-more").hidden = ranked.length <= FIRST_LABELS;
  const all = count(ranked.length, "label");
  const first = `first ${FIRST_LABELS}`;
  $("scores-count").textContent = allLabels ? `All ${all}.` : `The ${first} of ${all}.`;
  $("scores-all").textContent = allLabels ? `Show the ${first}` : "Show all";
}

async function toggleAllLabels() {
  const { activation } = await state.model;
  state.allLabels = !state.allLabels;
  showScores(activation);
}

// Many lines

async function classifyLines(signal) {
  const model = await currentModel();
  const pairs = $("lines-pairs").checked;
  const rows = parseLines($("lines").value, pairs);
  const problem = problemOf(rows, pairs, state.info);
  if (problem) {
    $("lines").focus();
    throw new ApiError(problem);
  }
  table.clear(model);
  drawTable();
  showProgress(rows.length);
  $("running").hidden = false;
  const began = performance.now();
  try {
    const all = portions(rows, state.info, model.labels.length);
    await sendPortions(model, all, rows.length, signal);
    showSpeed(performance.now() - began);
  } finally {
    // Not if something else was begun meanwhile: the page is its own now.
    if (state.running?.signal === signal) endLines(signal.aborted, rows.length);
  }
}

async function sendPortions(model, all, total, signal) {
  let drawn = -Infinity;
  for (const portion of all) {
    const result = await classifyPatiently(model, portion, signal);
    portion.forEach((row, at) => {
      const cut = result.truncated.has(at);
      table.rows.push(answered(row, result.answers[at], cut, model.labels));
    });
    showProgress(total);
    if (performance.now() - drawn > REDRAW_EVERY) {
      drawTable();
      drawn = performance.now();
    }
  }
}

/** A server that is busy is asked a few times; an error then says which lines it is about. */
async function classifyPatiently(model, portion, signal) {
  const inputs = portion.map(({ input }) => input);
  for (let tries = 1; ; tries++) {
    try {
      return await classify(model, inputs, signal);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!error.retryAfter || tries === TRIES) throw aboutLines(error, portion);
      await delay(error.retryAfter * 1000, signal);
    }
  }
}

function aboutLines(error, portion) {
  const [first, last] = [portion[0].line, portion.at(-1).line];
  const where = first === last ? `Line ${first}` : `Lines ${first} to ${last}`;
  return new ApiError(`${where}: ${error.message}`, error);
}

function delay(time, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, time);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function showProgress(total) {
  $("progress").max = total;
  $("progress").value = table.rows.length;
  $("progress-text").textContent = doneOf(total);
}

function doneOf(total) {
  return `${whole(table.rows.length)} of ${count(total, "line")}`;
}

function showSpeed(elapsed) {
  const perSecond = (1000 * table.rows.length) / elapsed;
  const speed = perSecond < 10 ? perSecond.toFixed(1) : whole(Math.round(perSecond));
  const seconds = (elapsed / 1000).toFixed(elapsed < 10_000 ? 2 : 0);
  setStatus(`${count(table.rows.length, "line")} in ${seconds} s, ${speed} a second`);
}

function endLines(cancelled, total) {
  $("running").hidden = true;
  if (cancelled) setStatus(`Cancelled after ${doneOf(total)}`);
  drawTable();
}

function drawTable() {
  table.draw();
  $("lines-result").hidden = mode() !== "lines" || table.rows.length === 0;
}

function countLines() {
  const rows = parseLines($("lines").value, false);
  const tabs = rows.filter(({ input }) => input[0].includes("\t")).length;
  const hint = tabs && !$("lines-pairs").checked ? `, ${tabs} with a tab: are they pairs?` : ".";
  const what = rows.length ? count(rows.length, "line") : "No lines yet";
  $("lines-note").textContent = `${what}${hint} Empty lines are skipped.`;
}

// The form

function mode() {
  return document.querySelector("input[name=mode]:checked").value;
}

function showMode() {
  const lines = mode() === "lines";
  stopRunning();
  clearProblem();
  setStatus("");
  $("one-panel").hidden = lines;
  $("lines-panel").hidden = !lines;
  $("second-field").hidden = mode() !== "pair";
  $("first-label").textContent = mode() === "pair" ? "First text" : "Text";
  $("one-result").hidden = true;
  drawTable();
}

async function submit(event) {
  event.preventDefault();
  stopRunning();
  clearProblem();
  const running = new AbortController();
  state.running = running;
  setStatus("Classifying…");
  try {
    await (mode() === "lines" ? classifyLines : classifyOne)(running.signal);
  } catch (error) {
    if (running.signal.aborted) return;
    $("one-result").hidden = true; // it is another text's
    setStatus("");
    report(error);
  } finally {
    if (state.running === running) state.running = null;
  }
}

function stopRunning() {
  state.running?.abort();
  state.running = null;
  $("running").hidden = true;
}

function cancel() {
  state.running?.abort();
  document.querySelector("#form button[type=submit]").focus(); // Cancel itself is about to go
}

function submitByKeys(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  $("form").requestSubmit();
}

function clearResults() {
  $("one-result").hidden = $("lines-result").hidden = true;
  table.clear();
  setStatus("");
}

/** What happened. `spoken` is only for screen readers: the page shows it elsewhere. */
function setStatus(text, spoken = "") {
  const hidden = element("span", { className: "visually-hidden", text: spoken });
  $("status").replaceChildren(hidden, text);
}

// Errors and the API key

function report(error) {
  const known = error instanceof ApiError;
  if (!known) console.error(error); // a fault of this page
  const message = known ? error.message : `This page has failed: ${error}`;
  $("alert").replaceChildren(element("p", { text: message }));
  if (error.retryAfter) $("alert").append(element("p", { text: retryHint(error) }));
  $("alert").hidden = false;
  if (error.status === 401) askForKey(error);
  else $("alert").scrollIntoView({ block: "nearest" });
}

function retryHint({ retryAfter }) {
  return `Try again in ${count(retryAfter, "second")} or a little later.`;
}

function clearProblem() {
  $("alert").hidden = true;
  $("alert").replaceChildren();
  $("key-problem").hidden = true;
}

function askForKey({ message }) {
  $("settings").open = true;
  $("key-problem").hidden = false;
  $("key-problem").textContent = message;
  $("key").focus();
}

async function applyKey(event) {
  event.preventDefault();
  clearProblem();
  try {
    setApiKey($("key").value.trim());
  } catch (error) {
    report(error);
    return;
  }
  await start();
  if ($("key-problem").hidden) setStatus("", "The server accepts the key.");
}

function listen() {
  $("form").addEventListener("submit", submit);
  $("form").addEventListener("keydown", submitByKeys);
  for (const radio of document.querySelectorAll("input[name=mode]")) {
    radio.addEventListener("change", showMode);
  }
  $("model").addEventListener("change", () => chooseModel($("model").value));
  $("cancel").addEventListener("click", cancel);
  $("scores-all").addEventListener("click", toggleAllLabels);
  $("lines").addEventListener("input", countLines);
  $("lines-pairs").addEventListener("change", countLines);
  $("rows-add").addEventListener("click", () => table.showMore());
  $("download").addEventListener("click", () => table.download());
  $("key-form").addEventListener("submit", applyKey);
}

$("key").value = apiKey();
listen();
showMode(); // browsers keep what was chosen before a reload
countLines();
start();
