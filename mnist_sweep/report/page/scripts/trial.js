// What is known of a search's trials beyond their rows, as explained.py writes it.
import { MISSING } from "./columns.js";
import { count, element, statusMark } from "./elements.js";

const LONGEST_HINT = 120;
const WIDTH = 280, HEIGHT = 64, MARGIN = 6; // of a small curve, in its units



/** searches: study -> as explained.py has it. */
export class Trials {
  constructor(runs, searches) {
    this.runs = runs;
    this.searches = searches;
    this.rows = new Map(); // `study/number` -> its first row
    for (let row = runs.num - 1; row >= 0; row -= 1) this.rows.set(this.nameOf(row), row);
  }

  nameOf(row) {
    return `${this.runs.text("study", row)}/${this.runs.text("trial", row)}`;
  }

  /** Of a run; null if no more is known of it than its row. */
  ofRow(row) {
    return this.get(this.nameOf(row), row);
  }

  /** By `study/number`; null if there is none. row: its run's. */
  get(name, row = this.rows.get(name)) {
    const at = name.lastIndexOf("/");
    const search = this.searches[name.slice(0, at)];
    const told = search?.trials[name.slice(at + 1)];
    return told ? new Trial(this.runs, search, told, row) : null;
  }

  /** A line on the run in a row, for who points at it. */
  hint(row) {
    const error = this.runs.text("error", row);
    return [this.ofRow(row)?.asked(), cut(error)].filter(Boolean).join("; ");
  }

  /** A figure with the hints of its runs below what it says of them. */
  withHints(figure) {
    const data = figure.data.map((trace) => {
      if (!Array.isArray(trace.customdata) || !Array.isArray(trace.text)) return trace;
      const text = trace.text.map((said, at) => said + this.line(trace.customdata[at]));
      return { ...trace, text };
    });
    return { ...figure, data };
  }

  line(id) {
    const row = typeof id === "string" ? this.runs.row(id) : undefined;
    const hint = row === undefined ? "" : this.hint(row);
    return hint && `<br>${hint.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")}`;
  }
}

const cut = (text) => (text.length > LONGEST_HINT ? `${text.slice(0, LONGEST_HINT)}…` : text);

class Trial {
  constructor(runs, search, told, row) {
    Object.assign(this, { runs, search, told, row });
  }

  asked() {
    return this.search.asked[this.told.asked ?? 0];
  }

  /** Text of a parameter's value; null where the trial does not have it. */
  value(name) {
    const told = this.told.point?.[name];
    if (told !== undefined) return told;
    const text = this.row === undefined ? MISSING : this.runs.text(name, this.row);
    return text === MISSING ? null : text;
  }

  /** [epoch, value, [cut or null, of what] or null] of the epochs that are known. */
  epochs() {
    const values = this.told.values ?? [];
    return values.map((value, at) => {
      const epoch = this.told.epochs?.[at] ?? at + 1;
      const own = this.told.cuts?.[epoch];
      return [epoch, value, own === undefined ? this.search.cuts[epoch] ?? null : own];
    });
  }

  shown(value) {
    if (value === null) return "–";
    return this.search.percent ? (100 * value).toFixed(2) : String(value);
  }

  cutText(cut) {
    if (!cut) return "";
    return cut[0] === null ? cut[1] : `${this.shown(cut[0])}, ${cut[1]}`;
  }

  /** The command that trains it to the end, after that of its row; null where there is none. */
  whole(own) {
    if (this.told.whole !== undefined) return this.told.whole;
    return this.told.rest === undefined ? null : own + this.told.rest;
  }

  /** withCurve: whether a small one is to be drawn, as there is no other. */
  sections(withCurve) {
    return [this.proposal(), this.heldAgainst(withCurve), this.retries()].filter(Boolean);
  }

  proposal() {
    const rows = Object.entries(this.search.ranges)
      .map(([name, range]) => [name, this.value(name), this.told.ranges?.[name] ?? range])
      .filter(([, value]) => value !== null);
    return element("section", {}, element("h3", {}, "Proposed"),
      element("p", {}, `By ${this.asked()}.`),
      rows.length ? table("What was proposed", ["parameter", "value", "of"], rows, []) : null);
  }

  heldAgainst(withCurve) {
    const epochs = this.epochs();
    if (!epochs.length) return null;
    const { measure, percent } = this.search;
    const cuts = epochs.some(([, , cut]) => cut);
    const heading = percent ? `${measure}, %` : measure;
    const rows = epochs.map(([epoch, value, cut]) => [
      String(epoch), this.shown(value), ...(cuts ? [this.cutText(cut)] : [])]);
    return element("section", {}, element("h3", {}, "Epoch by epoch"),
      withCurve ? smallCurve(epochs, `${measure} from ${this.shown(epochs[0][1])} to ${this.shown(epochs.at(-1)[1])}`) : null,
      table("What each epoch measured", ["epoch", heading, ...(cuts ? ["cut, now"] : [])], rows, [0, 1]));
  }

  retries() {
    const { attempt, race, retry } = this.told;
    const words = [attempt && `This is attempt ${count(attempt)}`, race && `It ${race}`, retry];
    const said = words.filter(Boolean).map((text) => `${text[0].toUpperCase()}${text.slice(1)}.`).join(" ");
    return said ? element("p", { className: "note" }, said) : null;
  }

  /** Of one that has no row. */
  lead() {
    const { state, begun, size } = this.told;
    const parts = [begun && `begun ${begun}`, size && `${count(size)} parameters`];
    return element("p", { className: "panel-lead" }, statusMark(state), parts.filter(Boolean).join(" · "));
  }
}

/** numbers: places of columns of numbers. */
function table(label, headings, rows, numbers) {
  const name = (at) => (numbers.includes(at) ? "number" : "");
  const head = headings.map((text, at) => element("th", { scope: "col", className: name(at) }, text));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((text, at) => (at
    ? element("td", { className: name(at) }, text)
    : element("th", { scope: "row", className: name(at) }, text)))));
  return element("div", { className: "scroll", role: "region", "aria-label": label, tabIndex: 0 },
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
}

const isNumber = (cut) => cut !== null && cut[0] !== null;

const svg = (tag, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
};

/** The values as a line, the cuts as bars across it. */
function smallCurve(epochs, label) {
  const known = epochs.filter(([, value]) => value !== null);
  const all = [...known.map(([, value]) => value), ...known.flatMap(([, , cut]) => (isNumber(cut) ? [cut[0]] : []))];
  const low = Math.min(...all), high = Math.max(...all), last = Math.max(known.at(-1)?.[0] ?? 1, 2);
  const x = (epoch) => MARGIN + ((epoch - 1) / (last - 1)) * (WIDTH - 2 * MARGIN);
  const y = (value) => HEIGHT - MARGIN - ((value - low) / (high - low || 1)) * (HEIGHT - 2 * MARGIN);
  const drawn = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "small-curve", role: "img", "aria-label": label });
  drawn.append(svg("polyline", { points: known.map(([epoch, value]) => `${x(epoch)},${y(value)}`).join(" ") }));
  for (const [epoch, value, cut] of known) {
    drawn.append(svg("circle", { cx: x(epoch), cy: y(value), r: 2.5 }));
    if (isNumber(cut)) drawn.append(svg("line", { x1: x(epoch) - 5, x2: x(epoch) + 5, y1: y(cut[0]), y2: y(cut[0]) }));
  }
  return drawn;
}
