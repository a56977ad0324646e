// The runs as columnar.py writes them, column by column.

export const MISSING = "";

/**
 * Of a column: value(row): a number, a text, true or false, or null where it is missing; accuracies
 * are fractions of 1, times UTC seconds. text(row): as shown, "" where missing. keys(): a number a
 * row that sorts, NaN where missing. finds(part): a test of rows for a part of their text in lower
 * case, or null where no text has it. heading: the name with the text's unit.
 */
function makeColumn(spec, numRows) {
  const place = spec.constant ? () => 0 : (row) => row;
  const column = {
    ...spec,
    isNumber: spec.kind === "number" || spec.kind === "time",
    heading: spec.percent ? `${spec.name}, %` : spec.name,
    finds: () => null,
    ...READERS[spec.kind](spec, place),
  };
  column.text ??= (row) => column.value(row) ?? MISSING;
  column.withUnit = (row) => (spec.percent ? `${column.text(row)} %` : column.text(row));
  let keys = null;
  column.keys = () => (keys ??= column.isNumber ? numericKeys(column, numRows) : textKeys(column, numRows));
  return column;
}

const READERS = {
  number(spec, place) {
    const scale = spec.digits === null ? 1 : 10 ** spec.digits;
    const format = formatOf(spec, scale);
    const stored = (row) => spec.values[place(row)];
    return {
      value: (row) => (stored(row) === null ? null : stored(row) / scale),
      text: (row) => (stored(row) === null ? MISSING : format(stored(row))),
    };
  },

  time(spec, place) {
    const value = (row) => spec.values[place(row)];
    return { value, text: (row) => {
      if (value(row) === null) return MISSING;
      return new Date(value(row) * 1000).toISOString().slice(0, 19).replace("T", " ");
    } };
  },

  words(spec, place) {
    const value = (row) => {
      const codes = spec.codes[place(row)];
      return codes === null ? null : codes.map((code) => spec.values[code]).join(spec.separator);
    };
    return { value, finds: (part) => {
      if (part.includes(spec.separator)) return (row) => (value(row) ?? MISSING).toLowerCase().includes(part);
      const found = spec.values.map((word) => word.toLowerCase().includes(part));
      if (!found.includes(true)) return null;
      return (row) => (spec.codes[place(row)] ?? []).some((code) => found[code]);
    } };
  },

  text(spec, place) {
    const code = codeOf(spec, place);
    return { value: (row) => spec.values[code(row)], finds: (part) => {
      const found = spec.values.map((text) => text !== null && text.toLowerCase().includes(part));
      return found.includes(true) ? (row) => found[code(row)] : null;
    } };
  },

  flag(spec, place) {
    const code = codeOf(spec, place);
    const text = (row) => spec.values[code(row)] ?? MISSING;
    return { text, value: (row) => (text(row) === MISSING ? null : text(row) === "yes") };
  },
};

const codeOf = (spec, place) => (spec.codes ? (row) => spec.codes[place(row)] : place);

function formatOf({ digits, percent, grouped }, scale) {
  if (digits === null) return String;
  if (percent) return (value) => (value / (scale / 100)).toFixed(2);
  if (!grouped) return (value) => (value / scale).toFixed(digits);
  return (value) => (value / scale).toLocaleString("en-US", { minimumFractionDigits: digits });
}

function numericKeys(column, numRows) {
  return Float64Array.from({ length: numRows }, (_, row) => column.value(row) ?? NaN);
}

/** The place of each row's text among all texts of the column. */
function textKeys(column, numRows) {
  const collator = new Intl.Collator("en", { numeric: true });
  const texts = Array.from({ length: numRows }, (_, row) => column.text(row));
  const places = new Map([...new Set(texts)].sort(collator.compare).map((text, n) => [text, n]));
  return Float64Array.from(texts, (text) => (text === MISSING ? NaN : places.get(text)));
}

/** All runs. Rows are counted from 0; `columns` are those that hold anything. */
export class Runs {
  constructor({ n, columns, empty, shown, sections }) {
    this.num = n;
    this.columns = columns.map((spec) => makeColumn(spec, n));
    this.shown = shown;
    this.sections = sections;
    this.byName = new Map(this.columns.map((column) => [column.name, column]));
    this.empty = new Map(empty.map((spec) => [spec.name, { ...spec, value: () => null }]));
    this.rowOfId = null; // made when first needed
  }

  /** Undefined if there is none of that name. A column that holds nothing has value() alone. */
  column(name) {
    return this.byName.get(name) ?? this.empty.get(name);
  }

  text(name, row) {
    return this.byName.get(name)?.text(row) ?? MISSING;
  }

  /** Undefined if there is no such run. */
  row(id) {
    this.rowOfId ??= new Map(Array.from({ length: this.num }, (_, row) => [this.text("run_id", row), row]));
    return this.rowOfId.get(id);
  }

  /** A test of rows: whether a column of texts has this text, whatever its case. */
  finding(text) {
    const tests = this.columns.map((column) => column.finds(text.toLowerCase())).filter(Boolean);
    return (row) => tests.some((test) => test(row));
  }
}
