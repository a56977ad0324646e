// What the tree of a condition means for the rows of the page: that of --where, as
// report/read/where.py has it for a frame.
import { parse } from "./expression.js";

const MOMENT = /^(?!0000)([0-9]{4}-[0-9]{2})(?:-([0-9]{2})(?:[T ]((?:[01][0-9]|2[0-3]):[0-5][0-9])(:[0-5][0-9](?:\.[0-9]{1,3})?)?(Z|[+\-](?:[01][0-9]|2[0-3]):[0-5][0-9])?)?)?$/;

const ORDER = {
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
};

const CALCULATE = {
  "+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b,
  "/": (a, b) => (b === 0 ? NaN : a / b), // a missing value
};

/** What a column holds, in the words of the messages. */
const KINDS = {
  number: "a number", time: "a time", text: "text", words: "text", flag: "true or false",
};

/**
 * (row) => whether the condition holds. Throws an Error that says what is wrong with it.
 * A value is {kind, at(row), constant}: `at` gives a number, text, true or false, or null where it
 * is missing; `constant` is there if it is the same for all rows.
 */
export function condition(expression, runs, { aliases, grammar, longest }) {
  if (Array.from(expression).length > longest) fail(`longer than ${longest.toLocaleString("en-US")} characters`);
  let tree;
  try {
    tree = parse(expression);
  } catch (error) {
    if (error instanceof SyntaxError) fail(`not understood; ${grammar}`);
    throw error;
  }
  return truth(tree);

  function truth(node) {
    if (node.kind === "all") {
      const parts = node.parts.map(truth);
      return (row) => parts.every((part) => part(row));
    }
    if (node.kind === "any") {
      const parts = node.parts.map(truth);
      return (row) => parts.some((part) => part(row));
    }
    if (node.kind === "not") return not(truth(node.of));
    if (node.kind === "comparison") {
      const pairs = node.signs.map((sign, n) => compare(node.operands[n], sign, node.operands[n + 1]));
      return pairs.length === 1 ? pairs[0] : (row) => pairs.every((pair) => pair(row));
    }
    if (node.kind === "constant" && typeof node.value === "string") return runs.finding(node.value);
    if (isText(node)) return runs.finding(node.name);
    const { kind, at } = valueOf(node);
    if (kind !== "true or false") {
      const look = ["constant", "word"].includes(node.kind) ? "; in quotes it is looked for" : "";
      fail(`${shown(node)} is no condition; compare it with something${look}`);
    }
    return (row) => at(row) === true;
  }

  function compare(left, sign, right) {
    if (sign === "==") return equal(left, right);
    if (sign === "!=") return not(equal(left, right));
    if (sign === "in") return among(left, right);
    if (sign === "not in") return not(among(left, right));
    const [a, b] = alike(left, right);
    for (const [node, { kind }] of [[left, a], [right, b]]) {
      if (kind === "true or false" || kind === "None") fail(`${shown(node)} has no order; use == or !=`);
    }
    const holds = ORDER[sign];
    const key = a.kind === "text" ? comparable : (value) => value;
    return (row) => {
      const x = a.at(row), y = b.at(row);
      return x !== null && y !== null && holds(key(x), key(y));
    };
  }

  function equal(left, right) {
    const [a, b] = alike(left, right);
    if (a.kind === "None") return (row) => b.at(row) === null;
    if (b.kind === "None") return (row) => a.at(row) === null;
    return (row) => {
      const x = a.at(row);
      return x !== null && x === b.at(row);
    };
  }

  function among(left, right) {
    if (right.kind === "several") {
      const found = right.items.map((item) => equal(left, item));
      return (row) => found.some((holds) => holds(row));
    }
    const whole = valueOf(right), sought = valueOf(beside(right, left));
    if (whole.kind !== "text" || typeof sought.constant !== "string") {
      fail(`${shown(left, right)}: in takes a list or text`);
    }
    return (row) => (whole.at(row) ?? "").includes(sought.constant);
  }

  /** Both values, of the same kind unless one is None. */
  function alike(left, right) {
    let a = valueOf(beside(right, left)), b = valueOf(beside(left, right));
    if (a.kind === "a time" && typeof b.constant === "string") b = moment(b.constant);
    else if (b.kind === "a time" && typeof a.constant === "string") a = moment(a.constant);
    if (a.kind !== b.kind && a.kind !== "None" && b.kind !== "None") {
      const quotes = a.kind === "text" || b.kind === "text" ? "; text goes in quotes, numbers do not" : "";
      fail(`${shown(left)} is ${a.kind}, ${shown(right)} is ${b.kind}${quotes}`);
    }
    if (isPercent(left, right) || isPercent(right, left)) {
      fail(`${shown(left, right)}: accuracies are compared as fractions of 1, such as 0.99`);
    }
    return [a, b];
  }

  /** Whether an accuracy is compared with more than 1, as if it were in percent. */
  function isPercent(accuracy, number) {
    return accuracy.kind === "word" && column(accuracy.name)?.percent
      && number.kind === "constant" && typeof number.value === "number" && number.value > 1;
  }

  function valueOf(node) {
    switch (node.kind) {
      case "constant": {
        const kinds = { number: "a number", string: "text", boolean: "true or false", object: "None" };
        return { kind: kinds[typeof node.value], at: () => node.value, constant: node.value };
      }
      case "word": return columnValue(node.name);
      case "negative": {
        const of = numberOf(node.of);
        return numbers((row) => -of(row));
      }
      case "calculation": {
        const calculate = CALCULATE[node.sign];
        const left = numberOf(node.left), right = numberOf(node.right);
        return numbers((row) => calculate(left(row), right(row)));
      }
    }
    return { kind: "true or false", at: truth(node) };
  }

  /** (row) => a number, NaN where it is missing. */
  function numberOf(node) {
    const { kind, at } = valueOf(node);
    if (kind !== "a number") fail(`${shown(node)} is ${kind}; only numbers can be calculated with`);
    return (row) => at(row) ?? NaN;
  }

  function numbers(of) {
    return { kind: "a number", at: (row) => {
      const number = of(row);
      return Number.isNaN(number) ? null : number;
    } };
  }

  function columnValue(name) {
    const found = column(name);
    if (!found) fail(`${name}: no such column; text goes in quotes: 'like this'`);
    return { kind: KINDS[found.kind], at: found.value };
  }

  function column(name) {
    return runs.column(name) ?? runs.column(aliases[name]);
  }

  function isText(node) {
    return node.kind === "word" && !node.inBackticks && !column(node.name);
  }

  /** The node; a word that names no column is text beside a column of texts or times. */
  function beside(other, node) {
    if (!isText(node) || other.kind !== "word") return node;
    const kind = KINDS[column(other.name)?.kind];
    if (kind !== "text" && kind !== "a time") return node;
    return { kind: "constant", start: node.start, end: node.end, value: node.name };
  }

  function moment(text) {
    const found = MOMENT.exec(text);
    const [, month, day = "01", minute = "00:00", second = ":00", zone = "Z"] = found ?? [];
    const midnight = Date.parse(`${month}-${day}T00:00Z`);
    // 31 February would be a day in March.
    if (!found || Number.isNaN(midnight) || !new Date(midnight).toISOString().startsWith(`${month}-${day}`)) {
      fail(`'${text}' is no time; write it like '2026-11-21 10:00'`);
    }
    const seconds = Date.parse(`${month}-${day}T${minute}${second}${zone}`) / 1000;
    return { kind: "a time", at: () => seconds };
  }

  function shown(first, last = first) {
    return expression.slice(first.start, last.end);
  }
}

const not = (holds) => (row) => !holds(row);

function fail(problem) {
  throw new Error(problem);
}

/** Of two such keys the smaller one's text comes first, by code points as in Python. */
function comparable(text) {
  // UTF-16 has the characters beyond 0xffff, whose units begin with d8 to df, before e000 to ffff.
  return text.replace(/[\ud800-\uffff]/g, (unit) =>
    String.fromCharCode(unit >= "\ue000" ? unit.charCodeAt(0) - 0x800 : unit.charCodeAt(0) + 0x2000));
}
