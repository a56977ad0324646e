// The grammar of conditions on runs: text -> tree. That of --where, which report/read/expression.py
// writes out; a test holds the two to each other.

const DEEPEST = 40; // brackets within brackets

const TOKEN = new RegExp([
  String.raw`(?<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")`,
  "(?<name>`[^`]+`)",
  String.raw`(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?(?![\p{L}\p{N}_.:]))`,
  String.raw`(?<thousands>[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?(?![\p{L}\p{N}_.:,]))`,
  String.raw`(?<number>(?:[0-9](?:_?[0-9])*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+\-]?[0-9]+)?(?![\p{L}\p{N}_.:]))`,
  String.raw`(?<word>[\p{L}\p{N}_.:]+)`,
  String.raw`(?<sign>[<>!=]=|[\-<>=+*\/,()\[\]{}])`,
].join("|"), "suy");
const BLANK = /[ \t\r\n\u00a0]*/y;

const KEYWORDS = new Set(["and", "or", "not", "in", "is"]);
const CONSTANTS = new Map([["None", null], ["True", true], ["False", false]]);
const BRACKETS = new Map([["(", ")"], ["[", "]"], ["{", "}"]]);
const CLOSING = new Set(BRACKETS.values());
const STARTS = new Set(["text", "name", "date", "thousands", "number", "word"]);

/**
 * A node has `kind`, `start` and `end` (where it stands), and:
 * constant: value · word: name, inBackticks · several: items · negative, not: of ·
 * calculation: left, sign, right · comparison: operands, signs · all, any: parts.
 * Throws a SyntaxError if the expression is malformed.
 */
export function parse(expression) {
  const tokens = tokensOf(expression);
  let at = 0;
  let depth = 0;

  const next = () => tokens[at];
  const lastEnd = () => tokens[at - 1].end;

  /** The next token's text if it is one of these signs or keywords, and goes on; else "". */
  function take(...texts) {
    const { kind, text } = next();
    if ((kind !== "sign" && kind !== "keyword") || !texts.includes(text)) return "";
    at += 1;
    return text;
  }

  function expect(text) {
    if (!take(text)) throw new SyntaxError();
  }

  function anyOf() {
    const parts = [allOf()];
    while (take("or")) parts.push(allOf());
    return joined("any", parts);
  }

  function allOf() {
    const starts = () => next().afterBlank && (STARTS.has(next().kind) || ["(", "not"].includes(next().text));
    const parts = [negated()];
    while (take("and") || starts()) parts.push(negated());
    return joined("all", parts);
  }

  const joined = (kind, parts) => (parts.length === 1 ? parts[0]
    : { kind, start: parts[0].start, end: parts.at(-1).end, parts });

  function negated() {
    const { start } = next();
    let times = 0;
    while (take("not")) times += 1;
    const of = comparison();
    return times % 2 ? { kind: "not", start, end: of.end, of } : of;
  }

  function comparison() {
    const operands = [sum()], signs = [];
    for (let sign = comparing(); sign; sign = comparing()) {
      signs.push(sign);
      const among = (sign === "in" || sign === "not in") && BRACKETS.has(next().text);
      operands.push(among ? several() : sum());
    }
    if (!signs.length) return operands[0];
    return { kind: "comparison", start: operands[0].start, end: operands.at(-1).end, operands, signs };
  }

  function comparing() {
    if (next().text === "not" && tokens[at + 1].text === "in") {
      at += 2;
      return "not in";
    }
    const sign = take("==", "=", "!=", "<", "<=", ">", ">=", "in", "is");
    if (sign === "is") return take("not") ? "!=" : "==";
    return sign === "=" ? "==" : sign;
  }

  /** A list, or what stands in round brackets alone, without a comma. */
  function several() {
    const { start } = next();
    const opening = take(...BRACKETS.keys());
    const closing = BRACKETS.get(opening);
    const items = [];
    let commas = 0;
    while (!take(closing)) {
      if (items.length > commas) {
        expect(",");
        commas += 1;
      } else items.push(nested());
    }
    if (opening === "(" && items.length === 1 && !commas) return items[0];
    return { kind: "several", start, end: lastEnd(), items };
  }

  function nested() {
    depth += 1;
    if (depth > DEEPEST) throw new SyntaxError();
    const node = anyOf();
    depth -= 1;
    return node;
  }

  const sum = () => calculation(product, "+", "-");
  const product = () => calculation(signed, "*", "/");

  function calculation(operand, ...signs) {
    let node = operand();
    for (let sign = take(...signs); sign; sign = take(...signs)) {
      const right = operand();
      node = { kind: "calculation", start: node.start, end: right.end, left: node, sign, right };
    }
    return node;
  }

  function signed() {
    const { start } = next();
    let times = 0;
    while (take("-")) times += 1;
    let node = atom();
    // Twice is not once: it must be a number, too.
    for (let left = times && 2 - (times % 2); left; left -= 1) {
      node = { kind: "negative", start, end: node.end, of: node };
    }
    return node;
  }

  function atom() {
    const { kind, text, start, end } = next();
    if (take("(")) {
      const node = nested();
      expect(")");
      return { ...node, start, end: lastEnd() };
    }
    at += 1;
    const constant = (value) => ({ kind: "constant", start, end, value });
    switch (kind) {
      case "text": return constant(text.slice(1, -1).replace(/\\(['"\\])/g, "$1"));
      case "date": return constant(text);
      case "number":
      case "thousands": return constant(Number(text.replace(/[,_]/g, "")));
      case "name": return { kind: "word", start, end, name: text.slice(1, -1), inBackticks: true };
      case "word":
        if (CONSTANTS.has(text)) return constant(CONSTANTS.get(text));
        return { kind: "word", start, end, name: text, inBackticks: false };
    }
    throw new SyntaxError();
  }

  const tree = anyOf();
  if (next().kind !== "end") throw new SyntaxError();
  return tree;
}

function tokensOf(expression) {
  const tokens = [];
  let openBrackets = 0;
  let at = 0;
  for (;;) {
    BLANK.lastIndex = at;
    BLANK.test(expression);
    const start = BLANK.lastIndex;
    if (start === expression.length) {
      tokens.push({ kind: "end", text: "", start, end: start, afterBlank: start > at });
      return tokens;
    }
    TOKEN.lastIndex = start;
    const match = TOKEN.exec(expression);
    if (!match) throw new SyntaxError();
    let kind = Object.keys(match.groups).find((name) => match.groups[name] !== undefined);
    let end = TOKEN.lastIndex;
    if (kind === "thousands" && openBrackets) { // there a comma parts the items of a list
      kind = "number";
      end = expression.indexOf(",", start);
    }
    const text = expression.slice(start, end);
    if (BRACKETS.has(text)) openBrackets += 1;
    if (CLOSING.has(text)) openBrackets -= 1;
    if (kind === "word" && KEYWORDS.has(text)) kind = "keyword";
    tokens.push({ kind, text, start, end, afterBlank: start > at });
    at = end;
  }
}
