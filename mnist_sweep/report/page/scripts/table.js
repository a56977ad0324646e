// The table of all runs: a grid of which only the rows in sight exist. By hand, since it stays
// quick with 100,000 rows and a library for that is as large as the rest of the page.
import { byId, count, element, statusMark } from "./elements.js";

const ROW_PX = 34; // as --row in colors.css
const ROWS_AROUND = 12; // drawn above and below what is seen

export class Table {
  /** sort: the name of the column that orders it at first. open(id) shows a run. hint(row): what to
   * say to who points at it. */
  constructor(runs, sort, open, hint) {
    this.hint = hint;
    this.runs = runs;
    this.open = open;
    this.grid = byId("grid");
    this.shown = runs.shown.map((name) => runs.column(name));
    this.sort = runs.columns.some((column) => column.name === sort) ? sort : "run_id";
    this.descending = true;
    this.view = Uint32Array.from({ length: runs.num }, (_, row) => row); // what passes the filter, in order
    this.active = 0; // a place in view
    this.grid.style.setProperty("--runs", String(runs.num));
    this.makeHead();
    this.setView(this.view);
    this.listen();
  }

  listen() {
    let waiting = false;
    this.grid.addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        this.drawRows();
      });
    });
    this.grid.addEventListener("keydown", (event) => this.onKey(event));
    this.grid.addEventListener("click", (event) => this.onClick(event));
    new ResizeObserver(() => this.drawRows()).observe(this.grid);
  }

  /** Shows the rows for which holds(row) is true. */
  filter(holds) {
    const rows = new Uint32Array(this.runs.num);
    let length = 0;
    for (let row = 0; row < this.runs.num; row += 1) if (holds(row)) rows[length++] = row;
    this.setView(rows.slice(0, length));
  }

  setColumns(columns) {
    this.shown = columns;
    this.makeHead();
    this.layOut();
  }

  setView(rows) {
    this.view = this.sorted(rows);
    this.active = 0;
    this.grid.scrollTop = 0;
    this.layOut();
  }

  sorted(rows) {
    const keys = this.runs.column(this.sort).keys();
    const sign = this.descending ? -1 : 1;
    // Missing values last, whichever way; equal ones in the order of the table.
    return rows.sort((a, b) => {
      const x = keys[a], y = keys[b];
      if (x === y) return a - b;
      if (Number.isNaN(x)) return Number.isNaN(y) ? a - b : 1;
      if (Number.isNaN(y)) return -1;
      return sign * (x - y);
    });
  }

  sortBy({ name, isNumber }) {
    this.descending = this.sort === name ? !this.descending : isNumber;
    this.sort = name;
    for (const cell of this.head.children) cell.setAttribute("aria-sort", this.direction(cell.dataset.name));
    this.setView(this.view);
  }

  /** Where the reader is, for `goTo`. */
  place() {
    const active = this.view.length ? this.runs.text("run_id", this.view[this.active]) : "";
    const { scrollTop, scrollLeft } = this.grid;
    return { sort: this.sort, descending: this.descending, active, scrollTop, scrollLeft };
  }

  goTo({ sort, descending, active, scrollTop, scrollLeft }) {
    if (this.runs.byName.has(sort)) {
      this.sort = sort;
      this.descending = descending;
      this.makeHead();
      this.setView(this.view);
    }
    this.active = Math.max(0, this.view.indexOf(this.runs.row(active)));
    this.drawRows();
    this.grid.scrollTo(scrollLeft, scrollTop);
  }

  direction(name) {
    if (name !== this.sort) return "none";
    return this.descending ? "descending" : "ascending";
  }

  /** In characters: of the header, and of the texts or, where they are many, of some. */
  widthOf(column) {
    const step = Math.max(1, Math.floor(this.runs.num / 300));
    let longest = 0;
    if (column.codes && column.kind !== "words" && column.values.length < 1000) {
      for (const text of column.values) longest = Math.max(longest, text?.length ?? 0);
    } else {
      for (let row = 0; row < this.runs.num; row += step) longest = Math.max(longest, column.text(row).length);
    }
    const mark = column.name === "status" ? 3 : 1;
    return Math.min(Math.max(column.heading.length + 3, longest + mark), column.name === "error" ? 60 : 30);
  }

  makeHead() {
    const widths = this.shown.map((column) => (column.width ??= this.widthOf(column)));
    this.grid.style.setProperty("--columns", widths.map((width) => `${width + 1.5}ch`).join(" "));
    this.grid.setAttribute("aria-colcount", String(this.shown.length));
    this.head = element("div", { role: "row", className: "row", "aria-rowindex": "1" });
    for (const column of this.shown) {
      const button = element("button", { type: "button", title: column.hint ?? "" }, column.heading);
      button.addEventListener("click", () => this.sortBy(column));
      const cell = element("div", { role: "columnheader" }, button);
      cell.setAttribute("aria-sort", this.direction(column.name));
      cell.classList.toggle("number", column.isNumber);
      cell.dataset.name = column.name;
      this.head.append(cell);
    }
    this.body = element("div", { role: "rowgroup", className: "body" });
    this.grid.replaceChildren(element("div", { role: "rowgroup", className: "head" }, this.head), this.body);
  }

  /** After a change of what is in view. */
  layOut() {
    this.body.style.height = `${this.view.length * ROW_PX}px`;
    this.grid.setAttribute("aria-rowcount", String(this.view.length + 1));
    const all = this.runs.num;
    byId("runs-shown").textContent = this.view.length === all
      ? `${count(all)} ${all === 1 ? "run" : "runs"}`
      : `${count(this.view.length)} of ${count(all)} runs`;
    this.drawRows();
  }

  drawRows() {
    const top = Math.floor(this.grid.scrollTop / ROW_PX);
    const seen = Math.ceil(this.grid.clientHeight / ROW_PX);
    const first = Math.max(0, top - ROWS_AROUND);
    const last = Math.min(this.view.length, top + seen + ROWS_AROUND);
    const rows = [];
    for (let at = first; at < last; at += 1) rows.push(this.makeRow(at));
    if (this.active < first && this.view.length) rows.unshift(this.makeRow(this.active));
    if (this.active >= last && this.view.length) rows.push(this.makeRow(this.active));
    this.body.replaceChildren(...rows);
    if (this.view.length) this.grid.setAttribute("aria-activedescendant", `row-${this.active}`);
    else this.grid.removeAttribute("aria-activedescendant");
  }

  makeRow(at) {
    const row = this.view[at];
    const made = element("div", { role: "row", className: "row", id: `row-${at}` });
    made.setAttribute("aria-rowindex", String(at + 2));
    made.setAttribute("aria-selected", String(at === this.active));
    made.style.top = `${at * ROW_PX}px`;
    const hint = this.hint(row);
    for (const column of this.shown) {
      const text = column.text(row);
      const cell = element("div", { role: "gridcell" });
      if (column.name === "status") cell.append(statusMark(text));
      else cell.textContent = text;
      const title = text.length > 28 ? text : hint;
      if (title) cell.title = title;
      cell.classList.toggle("number", column.isNumber);
      cell.classList.toggle("id", column.name === "run_id");
      made.append(cell);
    }
    return made;
  }

  moveTo(at) {
    this.active = Math.max(0, Math.min(this.view.length - 1, at));
    const top = this.active * ROW_PX;
    const room = this.grid.clientHeight - 2 * ROW_PX; // below the header, above a scroll bar
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    else if (top > this.grid.scrollTop + room - ROW_PX) this.grid.scrollTop = top - room + ROW_PX;
    this.drawRows();
  }

  openActive() {
    if (this.view.length) this.open(this.runs.text("run_id", this.view[this.active]));
  }

  onKey(event) {
    if (event.target !== this.grid || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / ROW_PX) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    if (event.key in steps) this.moveTo(this.active + steps[event.key]);
    else if (event.key === "Home") this.moveTo(0);
    else if (event.key === "End") this.moveTo(this.view.length - 1);
    else if (event.key === "Enter" || event.key === " ") this.openActive();
    else return;
    event.preventDefault();
  }

  onClick(event) {
    const row = event.target.closest("[id^=row-]");
    if (!row || String(getSelection())) return;
    this.active = Number(row.id.slice(4));
    this.drawRows();
    this.openActive();
  }
}
