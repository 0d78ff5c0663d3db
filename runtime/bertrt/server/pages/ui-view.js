// What a result looks like. Texts and labels go into the page as text only, never as HTML.

const wholeNumber = new Intl.NumberFormat("en");

export const FIRST_LABELS = 20;

/** An element with its class, text and children. */
export function element(tag, { className = "", text } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

export function count(number, one, many = `${one}s`) {
  return `${whole(number)} ${number === 1 ? one : many}`;
}

export function whole(number) {
  return wholeNumber.format(number);
}

export function milliseconds(value) {
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ms`;
}

/** A score for reading; the exact one goes into the element's value. */
export function scoreText(score) {
  const size = Math.abs(score);
  if (size >= 100_000 || (size < 0.00005 && size > 0)) return score.toExponential(3);
  return score.toFixed(4);
}

export function activationNote(activation, labelCount) {
  if (activation === "none") return "The model’s own values: a regression, no probabilities.";
  if (activation === "sigmoid") return "A probability for each label by itself (sigmoid).";
  return labelCount === 1 ? "" : "Probabilities, which sum to 1 (softmax).";
}

/** Labels with bars, best first; the first `limit` of them. */
export function scoreBars(ranked, activation, limit) {
  const scale = barScale(ranked, activation);
  return ranked.slice(0, limit).map(({ label, score }, rank) => {
    const bar = element("span", { className: rank === 0 ? "bar best" : "bar" });
    const { left, width } = scale(score);
    bar.style.left = `${left}%`;
    bar.style.width = `${width}%`;
    const track = element("span", { className: "track" }, bar);
    track.setAttribute("aria-hidden", "true");
    const value = element("data", { className: "score", text: scoreText(score) });
    value.value = value.title = String(score);
    return element("li", {}, element("span", { className: "label", text: label }), track, value);
  });
}

/** From a score to the place of its bar. Where scores are below 0, 0 is in the middle. */
function barScale(ranked, activation) {
  if (activation !== "none") return (score) => ({ left: 0, width: 100 * score });
  const largest = ranked.reduce((most, { score }) => Math.max(most, Math.abs(score)), 0) || 1;
  if (ranked.every(({ score }) => score >= 0)) {
    return (score) => ({ left: 0, width: (100 * score) / largest });
  }
  return (score) => {
    const width = (50 * Math.abs(score)) / largest;
    return { left: score < 0 ? 50 - width : 50, width };
  };
}

/** Where the time went: a stacked bar, and a table that is its legend. */
export function latencyView({ stages, elapsed }) {
  const parts = latencyParts(stages, elapsed);
  const bar = element("div", { className: "stack" });
  bar.setAttribute("aria-hidden", "true"); // the table says the same
  for (const { name, time } of parts) {
    const segment = element("span", { className: `segment ${name}` });
    segment.style.flexGrow = String(time);
    bar.append(segment);
  }
  const rows = parts.map(({ name, title, time }) =>
    legendRow(element("span", { className: `swatch ${name}` }), title, time),
  );
  rows.push(legendRow(null, "All, seen from here", elapsed));
  return [bar, element("table", { className: "legend" }, element("tbody", {}, ...rows))];
}

function latencyParts({ tokenization, queue, inference, total }, elapsed) {
  // A proxy may take the headers away: then only the round trip is known.
  if ([tokenization, queue, inference, total].includes(null)) {
    return [{ name: "network", title: "Server and network", time: elapsed }];
  }
  const overhead = total - tokenization - queue - inference;
  return [
    { name: "tokenization", title: "Tokenization", time: tokenization },
    { name: "queue", title: "Queue", time: queue },
    { name: "inference", title: "Inference", time: inference },
    { name: "overhead", title: "Server overhead", time: Math.max(0, overhead) },
    { name: "network", title: "Network and browser", time: Math.max(0, elapsed - total) },
  ];
}

function legendRow(swatch, title, time) {
  const head = element("th", {}, ...(swatch ? [swatch] : []), title);
  head.scope = "row";
  return element("tr", {}, head, element("td", { text: milliseconds(time) }));
}

export function tokensView(tokens, maxTokens) {
  if (tokens === null) return [element("p", { className: "note", text: "Not reported." })];
  const used = element("span", { className: "bar best" });
  used.style.width = `${Math.min(100, (100 * tokens) / maxTokens)}%`;
  const track = element("div", { className: "track" }, used);
  track.setAttribute("aria-hidden", "true");
  return [track, element("p", { text: `${tokens} of ${count(maxTokens, "token")}` })];
}

export function cutNotice(maxTokens, direction) {
  const end = direction === "left" ? "beginning" : "end";
  return (
    `The text was cut: it is longer than the ${count(maxTokens, "token")} that the model reads, ` +
    `and its ${end} was left out.`
  );
}

/** One line of the table. */
export function lineRow(row) {
  const score = element("data", { text: scoreText(row.score) });
  score.value = score.title = String(row.score);
  const texts = row.input.map((part) => element("div", { className: "clamped", text: part }));
  const cells = [
    element("td", { className: "number", text: String(row.line) }),
    element("td", { className: "text" }, ...texts),
    element("td", { className: "label" }, element("div", { text: row.label })),
    element("td", { className: "number" }, score),
    element("td", { text: row.truncated ? "cut" : "" }),
  ];
  // Said, because the style for narrow windows makes them something else than a table to browsers.
  for (const cell of cells) cell.setAttribute("role", "cell");
  const made = element("tr", {}, ...cells);
  made.setAttribute("role", "row");
  return made;
}
