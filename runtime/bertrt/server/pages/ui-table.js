// The table of many lines' results: sorted by any column, and as CSV.

import { csvOf } from "./ui-lines.js";
import { count, element, lineRow, whole } from "./ui-view.js";

const ROWS_AT_FIRST = 200;
const ROWS_MORE = 1000;

const COLUMNS = [
  { title: "Line", value: (row) => row.line, className: "number" },
  { title: "Text", value: (row) => row.input.join("\t") },
  { title: "Label", value: (row) => row.label },
  { title: "Score", value: (row) => row.score, className: "number" },
  { title: "Cut", value: (row) => Number(row.truncated) },
];

const collator = new Intl.Collator("en", { numeric: true });

/** `parts`: the page's elements: head, body, summary, more, shown. `rows`: in line order. */
export class LinesTable {
  rows = [];
  #parts;
  #model = null;
  #shown = ROWS_AT_FIRST;
  #sort = { column: 0, descending: false };

  constructor(parts) {
    this.#parts = parts;
    parts.head.replaceChildren(...COLUMNS.map((column, index) => this.#headCell(column, index)));
    this.#markSorted();
  }

  /** Begin anew, with what a model says. */
  clear(model = null) {
    this.rows = [];
    this.#model = model;
    this.#shown = ROWS_AT_FIRST;
  }

  showMore() {
    this.#shown += ROWS_MORE;
    this.draw();
  }

  draw() {
    if (this.rows.length === 0) return;
    const { maxTokens } = this.#model;
    const { body, summary, more, shown } = this.#parts;
    const rows = this.#sorted().slice(0, this.#shown);
    body.replaceChildren(...rows.map(lineRow));
    const cut = this.rows.filter((row) => row.truncated).length;
    const cutText = cut ? `, ${cut} cut to ${count(maxTokens, "token")}` : "";
    summary.textContent = `${count(this.rows.length, "line")}${cutText}.`;
    more.hidden = rows.length === this.rows.length;
    shown.textContent = `The first ${whole(rows.length)} of ${count(this.rows.length, "row")}.`;
  }

  download() {
    // The mark at the beginning tells spreadsheets that it is UTF-8.
    const content = ["\ufeff", csvOf(this.rows, this.#model.labels)];
    const address = URL.createObjectURL(new Blob(content, { type: "text/csv;charset=utf-8" }));
    const link = element("a");
    link.href = address;
    link.download = `${this.#model.name.replaceAll("/", "-")}-scores.csv`;
    link.click();
    // Some browsers read the address a little after the click.
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  #headCell({ title, className }, index) {
    const button = element("button", { text: title });
    button.type = "button";
    button.addEventListener("click", () => this.#sortBy(index));
    const cell = element("th", { className }, button);
    cell.scope = "col";
    cell.setAttribute("role", "columnheader");
    return cell;
  }

  #sortBy(column) {
    const again = this.#sort.column === column;
    this.#sort = { column, descending: again && !this.#sort.descending };
    this.#markSorted();
    this.draw();
  }

  #markSorted() {
    const { column, descending } = this.#sort;
    [...this.#parts.head.children].forEach((cell, index) => {
      if (index === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  #sorted() {
    const { column, descending } = this.#sort;
    if (column === 0 && !descending) return this.rows; // they come in this order
    const { value } = COLUMNS[column];
    const sign = descending ? -1 : 1;
    return [...this.rows].sort((a, b) => sign * compare(value(a), value(b)) || a.line - b.line);
  }
}

function compare(a, b) {
  return typeof a === "number" ? a - b : collator.compare(a, b);
}
