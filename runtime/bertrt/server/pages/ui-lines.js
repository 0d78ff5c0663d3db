// Many lines: what to send, in which portions, and the result as CSV. Nothing touches the page.

// Smaller portions than most servers take, so that the progress moves and a cancel comes through.
const MOST_TEXTS = 64;
// Every label of every text comes back: keep the answers for models of 10,000 labels small.
const MOST_SCORES = 200_000;
// The JSON around a text of a request, and around all of them.
const BYTES_AROUND_TEXT = 32;
const BYTES_AROUND_ALL = 64;

const MOST_LABELS_IN_CSV = 50;

const encoder = new TextEncoder();

/** The lines that are not empty, as `{line, input}`; `line` counts all of them, from 1. */
export function parseLines(text, pairs) {
  return text
    .split(/\r\n|\r|\n/)
    .map((content, index) => ({ line: index + 1, input: pairs ? splitPair(content) : [content] }))
    .filter(({ input }) => input.some((part) => part.trim() !== ""));
}

/** At the first tab; a line without one gives a single text. */
function splitPair(line) {
  const at = line.indexOf("\t");
  return at < 0 ? [line] : [line.slice(0, at), line.slice(at + 1)];
}

/** What is wrong with the lines, in words, or null. */
export function problemOf(rows, pairs, info) {
  if (rows.length === 0) return "There is no text yet: give one or more lines.";
  const single = pairs && rows.find(({ input }) => input.length === 1);
  if (single) return `Line ${single.line} has no tab, so it is no pair.`;
  const long = rows.find(({ input }) => characters(input) > info.max_text_chars);
  if (!long) return null;
  return (
    `Line ${long.line} has ${characters(long.input)} characters, and the server takes ` +
    `${info.max_text_chars} at most (max_text_chars).`
  );
}

/** As the server counts: characters beyond U+FFFF are one, not two. */
function characters(input) {
  return input.reduce((sum, part) => sum + [...part].length, 0);
}

/** Portions of rows that the server takes in one request. */
export function portions(rows, info, labelCount) {
  const mostTexts = Math.max(
    1,
    Math.min(MOST_TEXTS, info.max_client_batch_size, Math.floor(MOST_SCORES / labelCount)),
  );
  const mostBytes = info.max_body_bytes - BYTES_AROUND_ALL;
  const all = [];
  let bytes = 0;
  for (const row of rows) {
    const size = encoder.encode(JSON.stringify(row.input)).length + BYTES_AROUND_TEXT;
    const last = all.at(-1);
    if (last === undefined || last.length >= mostTexts || bytes + size > mostBytes) {
      all.push([row]);
      bytes = size;
    } else {
      last.push(row);
      bytes += size;
    }
  }
  return all;
}

/** A row with what the server said about it. All scores are kept only where the CSV has them. */
export function answered(row, ranked, truncated, labels) {
  const [best] = ranked;
  const result = { ...row, label: best.label, score: best.score, truncated, scores: null };
  if (labels.length <= MOST_LABELS_IN_CSV) {
    const byLabel = new Map(ranked.map(({ label, score }) => [label, score]));
    result.scores = labels.map((label) => byLabel.get(label));
  }
  return result;
}

/** RFC 4180, in line order. */
export function csvOf(rows, labels) {
  const pairs = rows.some(({ input }) => input.length === 2);
  const columns = labels.length <= MOST_LABELS_IN_CSV ? labels : [];
  const head = ["line", "text", ...(pairs ? ["text_pair"] : []), "label", "score", "truncated"];
  head.push(...columns.map((label) => `score_${label}`));
  const table = [head, ...rows.map((row) => csvFields(row, pairs))];
  return table.map((fields) => fields.map(quoted).join(",") + "\r\n").join("");
}

function csvFields(row, pairs) {
  const texts = pairs ? [row.input[0], row.input[1] ?? ""] : row.input;
  return [row.line, ...texts, row.label, row.score, row.truncated, ...(row.scores ?? [])];
}

function quoted(value) {
  const text = String(value ?? "");
  // Spaces at the ends as well: some programs drop them from fields without quotes.
  return /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
