// The report's behaviour. The runs' table comes first; plots are drawn when they come into sight.
// Data becomes text nodes, never markup: it says whatever configs and errors said.
"use strict";

(async () => {
  const ROW_PX = 34; // as --row in page.css
  const ROWS_AROUND = 12; // drawn above and below what is seen
  const MISSING = "";
  const byId = (id) => document.getElementById(id);

  /** The text that page.py's `_packed` put into an element. */
  async function unpacked(id) {
    const letters = atob(byId(id).textContent);
    const bytes = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  if (!window.DecompressionStream) {
    byId("runs-shown").textContent = "This browser is too old for the table and the plots.";
    return;
  }
  const data = JSON.parse(await unpacked("data"));

  /** An element with properties and children; strings become text. */
  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made && !name.startsWith("aria-")) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  const count = (number) => number.toLocaleString("en-US");
  const isAccuracy = (metric) => metric.includes("_acc");

  /** Of a metric as it is measured: accuracies, fractions of 1, in percent. */
  function measured(metric, value) {
    if (value === null) return "–";
    return isAccuracy(metric) ? `${(100 * value).toFixed(2)} %` : String(value);
  }

  // Columns: page.py's `columnar` writes them, this reads them.

  /**
   * text(row): as shown, "" where missing. keys(): a number a row that sorts, NaN where missing;
   * it is what filters compare, too, so of an accuracy a fraction of 1, while its text is percent.
   * heading: the name with the text's unit. finds(word): a test of rows for text filters, or null where the column holds no text.
   */
  function makeColumn(spec) {
    const place = spec.constant ? () => 0 : (row) => row;
    const column = { ...spec, isNumber: spec.kind === "number" || spec.kind === "time" };
    column.heading = spec.percent ? `${spec.name}, %` : spec.name;
    if (spec.kind === "number") {
      const scale = spec.digits === null ? 1 : 10 ** spec.digits;
      const format = spec.digits === null
        ? (value) => String(value)
        : spec.percent
          ? (value) => (value / (scale / 100)).toFixed(2)
          : spec.grouped
          ? (value) => (value / scale).toLocaleString("en-US", { minimumFractionDigits: spec.digits })
          : (value) => (value / scale).toFixed(spec.digits);
      column.text = (row) => {
        const value = spec.values[place(row)];
        return value === null ? MISSING : format(value);
      };
      column.key = (row) => {
        const value = spec.values[place(row)];
        return value === null ? NaN : value / scale;
      };
      column.finds = () => null;
    } else if (spec.kind === "time") {
      column.text = (row) => {
        const seconds = spec.values[place(row)];
        if (seconds === null) return MISSING;
        return new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
      };
      column.key = (row) => spec.values[place(row)] ?? NaN;
      column.finds = () => null;
    } else if (spec.kind === "words") {
      column.text = (row) => {
        const codes = spec.codes[place(row)];
        return codes === null ? MISSING : codes.map((code) => spec.values[code]).join(spec.separator);
      };
      column.finds = (word) => {
        if (word.includes(spec.separator)) return (row) => column.text(row).toLowerCase().includes(word);
        const found = spec.values.map((value) => value.toLowerCase().includes(word));
        if (!found.includes(true)) return null;
        return (row) => (spec.codes[place(row)] ?? []).some((code) => found[code]);
      };
    } else {
      const code = spec.codes ? (row) => spec.codes[place(row)] : place;
      column.text = (row) => spec.values[code(row)] ?? MISSING;
      column.finds = (word) => {
        const found = spec.values.map((value) => value !== null && value.toLowerCase().includes(word));
        return found.includes(true) ? (row) => found[code(row)] === true : null;
      };
    }
    column.keys = () => (column.sortKeys ??= column.key ? numericKeys(column) : textKeys(column));
    return column;
  }

  function numericKeys(column) {
    return Float64Array.from({ length: data.runs.n }, (_, row) => column.key(row));
  }

  /** The place of each row's text among all texts of the column. */
  function textKeys(column) {
    const collator = new Intl.Collator("en", { numeric: true });
    const texts = Array.from({ length: data.runs.n }, (_, row) => column.text(row));
    const places = new Map([...new Set(texts)].sort(collator.compare).map((text, n) => [text, n]));
    return Float64Array.from(texts, (text) => (text === MISSING ? NaN : places.get(text)));
  }

  const columns = data.runs.columns.map(makeColumn);
  const columnOf = new Map(columns.map((column) => [column.name, column]));
  const textOf = (name, row) => columnOf.get(name)?.text(row) ?? MISSING;
  const withUnit = (column, text) => (column.percent ? `${text} %` : text);
  const numberOf = (name, row) => columnOf.get(name)?.key?.(row) ?? NaN;
  let rowOfRun = null; // made when first needed
  const rowOf = (id) => {
    rowOfRun ??= new Map(Array.from({ length: data.runs.n }, (_, row) => [textOf("run_id", row), row]));
    return rowOfRun.get(id);
  };
  const hashOf = (id) => `#run=${encodeURIComponent(id)}`;

  // The filter: words, and comparisons such as num_params<8000.

  const COMPARISONS = {
    "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
    "=": (a, b) => a === b, "!=": (a, b) => a !== b,
  };

  /** Tests of a row, all of which must hold. Throws an Error that says what is wrong. */
  function parseFilter(text) {
    const terms = text.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? [];
    return terms.map((term) => {
      const parts = term.match(/^(\w+)(<=|>=|!=|=|<|>)(.*)$/s);
      const column = parts && columnOf.get(parts[1] === "params" ? "num_params" : parts[1]);
      if (column) return comparison(column, parts[2], parts[3].replaceAll('"', ""));
      if (parts && /[<>]/.test(parts[2])) throw new Error(`there is no column ${parts[1]}`);
      return containing(term.replaceAll('"', "").toLowerCase());
    });
  }

  function comparison(column, operator, wanted) {
    const holds = COMPARISONS[operator];
    if (column.isNumber && wanted !== "") {
      const plain = wanted.replaceAll(",", "");
      const limit = column.kind === "time" ? Date.parse(`${wanted}Z`) / 1000 || Date.parse(wanted) / 1000
        : Number(plain);
      if (Number.isNaN(limit)) {
        const example = column.kind === "time" ? "2026-01-31" : "0.99";
        throw new Error(`${column.name}${operator}${wanted}: give a value such as ${example}`);
      }
      if (column.percent && limit > 1) {
        throw new Error(`${column.name}${operator}${wanted}: accuracies are compared as fractions of 1, ` +
          "such as 0.99");
      }
      return (row) => {
        const value = column.key(row);
        return !Number.isNaN(value) && holds(value, limit);
      };
    }
    if (/[<>]/.test(operator)) throw new Error(`${column.name} holds text: compare it with = or !=`);
    const text = wanted.toLowerCase();
    return (row) => holds(column.text(row).toLowerCase(), text);
  }

  function containing(word) {
    const tests = columns.map((column) => column.finds(word)).filter((test) => test !== null);
    return (row) => tests.some((test) => test(row));
  }

  // The table of all runs: a grid of which only the rows in sight exist.

  const grid = byId("grid");
  const state = {
    shown: data.runs.shown.map((name) => columnOf.get(name)),
    sort: columnOf.has(data.sort) ? data.sort : "run_id",
    descending: true,
    statuses: new Set(),
    view: new Uint32Array(0), // the rows that pass the filter, in order
    active: 0, // a place in view
  };
  let head = null;
  let body = null;

  function sorted(rows) {
    const keys = columnOf.get(state.sort).keys();
    const sign = state.descending ? -1 : 1;
    // Missing values last, whichever way; equal ones in the order of the table.
    return rows.sort((a, b) => {
      const x = keys[a], y = keys[b];
      if (x === y) return a - b;
      if (Number.isNaN(x)) return Number.isNaN(y) ? a - b : 1;
      if (Number.isNaN(y)) return -1;
      return sign * (x - y);
    });
  }

  function applyFilter() {
    const input = byId("filter");
    const message = byId("filter-message");
    let tests;
    try {
      tests = parseFilter(input.value);
    } catch (error) {
      message.textContent = error.message;
      input.setAttribute("aria-invalid", "true");
      return;
    }
    input.removeAttribute("aria-invalid");
    message.textContent = "";
    const status = columnOf.get("status");
    if (state.statuses.size) tests.unshift((row) => state.statuses.has(status.text(row)));
    const rows = new Uint32Array(data.runs.n);
    let length = 0;
    for (let row = 0; row < data.runs.n; row += 1) {
      if (tests.every((test) => test(row))) rows[length++] = row;
    }
    state.view = sorted(rows.slice(0, length));
    state.active = 0;
    grid.scrollTop = 0;
    layOut();
  }

  function applySort(name) {
    const column = columnOf.get(name);
    state.descending = state.sort === name ? !state.descending : column.isNumber;
    state.sort = name;
    state.view = sorted(state.view);
    state.active = 0;
    grid.scrollTop = 0;
    for (const cell of head.children) {
      const isSorted = cell.dataset.name === name;
      cell.setAttribute("aria-sort", isSorted ? direction() : "none");
    }
    layOut();
  }

  const direction = () => (state.descending ? "descending" : "ascending");

  /** In characters: of the header, and of the texts or, where they are many, of some. */
  function widthOf(column) {
    const step = Math.max(1, Math.floor(data.runs.n / 300));
    let longest = 0;
    if (column.codes && column.kind === "text" && column.values.length < 1000) {
      for (const text of column.values) longest = Math.max(longest, text?.length ?? 0);
    } else {
      for (let row = 0; row < data.runs.n; row += step) longest = Math.max(longest, column.text(row).length);
    }
    const mark = column.name === "status" ? 3 : 1;
    return Math.min(Math.max(column.heading.length + 3, longest + mark), column.name === "error" ? 60 : 30);
  }

  function makeHead() {
    const widths = state.shown.map((column) => (column.width ??= widthOf(column)));
    grid.style.setProperty("--columns", widths.map((width) => `${width + 1.5}ch`).join(" "));
    grid.setAttribute("aria-colcount", String(state.shown.length));
    head = element("div", { role: "row", className: "row", "aria-rowindex": "1" });
    for (const column of state.shown) {
      const button = element("button", { type: "button", title: column.hint ?? "" }, column.heading);
      button.addEventListener("click", () => applySort(column.name));
      const cell = element("div", { role: "columnheader" }, button);
      cell.setAttribute("aria-sort", column.name === state.sort ? direction() : "none");
      cell.classList.toggle("number", column.isNumber);
      cell.dataset.name = column.name;
      head.append(cell);
    }
    body = element("div", { role: "rowgroup", className: "body" });
    grid.replaceChildren(element("div", { role: "rowgroup", className: "head" }, head), body);
  }

  /** After a change of what is in view. */
  function layOut() {
    body.style.height = `${state.view.length * ROW_PX}px`;
    grid.setAttribute("aria-rowcount", String(state.view.length + 1));
    const all = data.runs.n;
    byId("runs-shown").textContent = state.view.length === all
      ? `${count(all)} ${all === 1 ? "run" : "runs"}`
      : `${count(state.view.length)} of ${count(all)} runs`;
    drawRows();
  }

  function drawRows() {
    const top = Math.floor(grid.scrollTop / ROW_PX);
    const seen = Math.ceil(grid.clientHeight / ROW_PX);
    const first = Math.max(0, top - ROWS_AROUND);
    const last = Math.min(state.view.length, top + seen + ROWS_AROUND);
    const rows = [];
    for (let at = first; at < last; at += 1) rows.push(makeRow(at));
    if (state.active < first && state.view.length) rows.unshift(makeRow(state.active));
    if (state.active >= last && state.view.length) rows.push(makeRow(state.active));
    body.replaceChildren(...rows);
    if (state.view.length) grid.setAttribute("aria-activedescendant", `row-${state.active}`);
    else grid.removeAttribute("aria-activedescendant");
  }

  function makeRow(at) {
    const row = state.view[at];
    const made = element("div", { role: "row", className: "row", id: `row-${at}` });
    made.setAttribute("aria-rowindex", String(at + 2));
    made.setAttribute("aria-selected", String(at === state.active));
    made.style.top = `${at * ROW_PX}px`;
    for (const column of state.shown) {
      const text = column.text(row);
      const cell = element("div", { role: "gridcell" });
      if (column.name === "status") cell.append(statusMark(text));
      else cell.textContent = text;
      if (text.length > 28) cell.title = text;
      cell.classList.toggle("number", column.isNumber);
      cell.classList.toggle("id", column.name === "run_id");
      made.append(cell);
    }
    return made;
  }

  const statusMark = (status) => element("span", { className: `status ${cssWord(status)}` }, status);
  const cssWord = (text) => (/^[a-z]+$/.test(text) ? text : "");

  function moveTo(at) {
    state.active = Math.max(0, Math.min(state.view.length - 1, at));
    const top = state.active * ROW_PX;
    const room = grid.clientHeight - 2 * ROW_PX; // below the header, above a scroll bar
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top > grid.scrollTop + room - ROW_PX) grid.scrollTop = top - room + ROW_PX;
    drawRows();
  }

  function onGridKey(event) {
    if (event.target !== grid || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(grid.clientHeight / ROW_PX) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    if (event.key in steps) moveTo(state.active + steps[event.key]);
    else if (event.key === "Home") moveTo(0);
    else if (event.key === "End") moveTo(state.view.length - 1);
    else if (event.key === "Enter" || event.key === " ") {
      if (state.view.length) openRun(textOf("run_id", state.view[state.active]));
    } else return;
    event.preventDefault();
  }

  function onGridClick(event) {
    const row = event.target.closest("[id^=row-]");
    if (!row || String(getSelection())) return;
    state.active = Number(row.id.slice(4));
    drawRows();
    openRun(textOf("run_id", state.view[state.active]));
  }

  function makeStatusFilter() {
    const status = columnOf.get("status");
    const numbers = new Map();
    for (let row = 0; row < data.runs.n; row += 1) {
      const text = status.text(row);
      numbers.set(text, (numbers.get(text) ?? 0) + 1);
    }
    const boxes = [...numbers].sort((a, b) => b[1] - a[1]).map(([name, number]) => {
      const box = element("input", { type: "checkbox", value: name });
      box.addEventListener("change", () => {
        if (box.checked) state.statuses.add(name);
        else state.statuses.delete(name);
        applyFilter();
      });
      return element("label", { className: "chip" }, box, statusMark(name || "(none)"), ` ${count(number)}`);
    });
    byId("statuses").append(...boxes);
  }

  function makeColumnChooser() {
    const boxes = columns.map((column) => {
      const box = element("input", { type: "checkbox", checked: state.shown.includes(column) });
      box.addEventListener("change", () => {
        const chosen = new Set(state.shown);
        if (box.checked) chosen.add(column);
        else chosen.delete(column);
        if (!chosen.size) {
          box.checked = true; // the last one stays
          return;
        }
        state.shown = [...chosen];
        makeHead();
        layOut();
      });
      return element("label", { title: column.hint ?? "" }, box, column.name);
    });
    byId("column-boxes").append(...boxes);
  }

  function startTable() {
    grid.style.setProperty("--runs", String(data.runs.n));
    makeHead();
    applyFilter();
    makeStatusFilter();
    makeColumnChooser();
    let waiting = false;
    grid.addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        drawRows();
      });
    });
    grid.addEventListener("keydown", onGridKey);
    grid.addEventListener("click", onGridClick);
    new ResizeObserver(drawRows).observe(grid);
    let typing = 0;
    byId("filter").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(applyFilter, data.runs.n > 20_000 ? 150 : 0);
    });
    byId("filter-form").addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typing);
      applyFilter();
    });
  }

  // One run: the panel, which the address opens (#run=<run id>).

  const panel = byId("panel");

  function openRun(id) {
    if (location.hash === hashOf(id)) showHash();
    else location.hash = hashOf(id);
  }

  function showHash() {
    const found = location.hash.match(/^#run=(.*)$/s);
    if (!found) {
      if (panel.open) panel.close();
      return;
    }
    let id = found[1];
    try {
      id = decodeURIComponent(id);
    } catch {
      // as it stands
    }
    fillPanel(id, rowOf(id));
    if (!panel.open) panel.showModal();
    panel.scrollTop = 0;
  }

  function fillPanel(id, row) {
    byId("panel-title").textContent = `Run ${id}`;
    const content = byId("panel-content");
    dropPlots(content);
    if (row === undefined) {
      content.replaceChildren(element("p", {}, "This report has no such run."));
      return;
    }
    content.replaceChildren(
      element("p", { className: "panel-lead" }, statusMark(textOf("status", row)), lead(row)),
      ...[error(row), neighbours(row), curveOf(id), commands(id, row), siblings(row)].filter(Boolean),
      ...facts(row),
    );
  }

  function lead(row) {
    const accuracies = ["val_acc", "test_acc"]
      .filter((name) => textOf(name, row) !== MISSING)
      .map((name) => `${name} ${withUnit(columnOf.get(name), textOf(name, row))}`);
    const size = textOf("num_params", row);
    return [...accuracies, size && `${size} parameters`].filter(Boolean).join(" · ");
  }

  function error(row) {
    const text = textOf("error", row);
    return text === MISSING ? null : element("p", { className: "error" }, text);
  }

  /** Previous and next in the table as it is filtered and sorted. */
  function neighbours(row) {
    const at = state.view.indexOf(row);
    if (at < 0) return null;
    const link = (place, text) => {
      if (place < 0 || place >= state.view.length) return element("span", { className: "muted" }, text);
      return runLink(textOf("run_id", state.view[place]), text);
    };
    return element("nav", { className: "neighbours", "aria-label": "Runs of the table" },
      link(at - 1, "← previous"), `${count(at + 1)} of ${count(state.view.length)}`, link(at + 1, "next →"));
  }

  const runLink = (id, text = id) => element("a", { href: hashOf(id) }, text);

  function commands(id, row) {
    const made = [];
    if (textOf("run_dir", row) !== MISSING) {
      made.push(["The very run again", `python -m mnist_sweep.rerun ${quoted(id)}`]);
      if (textOf("status", row) === "completed") {
        made.push(["Its mistakes on the test set", `python -m mnist_sweep.evaluate ${quoted(id)}`]);
      }
      made.push(["Its curves", `python -m mnist_sweep.report curves ${quoted(id)}`]);
    }
    const overrides = textOf("overrides", row);
    made.push(["What was run", `python -m mnist_sweep ${overrides}`.trim()]);
    return element("section", {}, element("h3", {}, "Commands"),
      ...made.flatMap(([what, command]) => [
        element("p", { className: "command-title" }, what), commandBox(command)]));
  }

  const quoted = (word) => (/^[\w./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

  function commandBox(command) {
    const box = element("div", { className: "command" }, element("code", {}, command));
    addCopyButton(box);
    return box;
  }

  function addCopyButton(box) {
    const button = element("button", { type: "button" }, "Copy");
    button.addEventListener("click", async () => {
      button.textContent = (await copied(box.querySelector("code"))) ? "Copied" : "Press Ctrl+C";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    box.append(button);
  }

  /** Selects the text too, so that it can be copied by hand where a browser forbids more. */
  async function copied(code) {
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      return document.execCommand("copy");
    }
  }

  /** Runs that differ from this one only in the seed. */
  function siblings(row) {
    const hash = textOf("config_hash", row);
    if (hash === MISSING) return null;
    const others = [];
    for (let other = 0; other < data.runs.n; other += 1) {
      if (other !== row && textOf("config_hash", other) === hash) others.push(other);
    }
    if (!others.length) return null;
    const items = others.slice(0, 20).map((other) => element("li", {},
      runLink(textOf("run_id", other)), ` seed ${textOf("seed", other)}: ${lead(other) || textOf("status", other)}`));
    const rest = others.length > 20 ? [element("li", {}, `and ${count(others.length - 20)} more`)] : [];
    return element("section", {}, element("h3", {}, "The same configuration, other seeds"),
      element("ul", {}, ...items, ...rest));
  }

  function facts(row) {
    const groups = new Map();
    for (const column of columns) {
      const text = column.text(row);
      if (text === MISSING) continue;
      if (!groups.has(column.section)) groups.set(column.section, []);
      groups.get(column.section).push(element("dt", { title: column.hint ?? "" }, column.name),
        element("dd", {}, withUnit(column, text)));
    }
    return data.runs.sections.filter((name) => groups.has(name)).map((name) => element("section", {},
      element("h3", {}, name), element("dl", { className: "facts" }, ...groups.get(name))));
  }

  function startPanel() {
    addEventListener("hashchange", showHash);
    byId("panel-close").addEventListener("click", () => panel.close());
    panel.addEventListener("click", (event) => {
      if (event.target === panel) panel.close(); // beside the panel
    });
    panel.addEventListener("close", () => {
      dropPlots(byId("panel-content"));
      if (!location.hash.startsWith("#run=")) return;
      const { scrollX, scrollY } = window;
      history.pushState(null, "", location.pathname + location.search);
      scrollTo(scrollX, scrollY);
    });
    for (const box of document.querySelectorAll("main .command, header .command")) addCopyButton(box);
    if (location.hash) showHash();
  }

  // Plots: plotly lies packed in the page and is unpacked when the first plot comes into sight.

  let plotly = null;
  const plots = new Map(); // the box of a plot -> the function that makes its figure

  function loadPlotly() {
    plotly ??= (async () => {
      const source = await unpacked("plotly");
      document.head.append(element("script", { textContent: source }));
      return window.Plotly;
    })();
    return plotly;
  }

  const CONFIG = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage", "resetScale2d"]],
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    toImageButtonOptions: { format: "svg" },
  };

  async function draw(box) {
    const figure = plots.get(box);
    if (!figure) return;
    try {
      const { react } = await loadPlotly();
      const { traces, layout } = figure(colors());
      await react(box, traces, withTheme(layout), CONFIG);
    } catch (error) {
      box.textContent = `This plot cannot be drawn here (${error.message}).`;
      return;
    }
    if (!box.dataset.drawn) {
      box.dataset.drawn = "true";
      box.on("plotly_click", ({ points: [point] }) => {
        if (typeof point.customdata === "string") openRun(point.customdata);
      });
    }
  }

  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "300px" });

  function addPlot(box, figure) {
    if (!box) return;
    plots.set(box, figure);
    observer.observe(box);
  }

  function dropPlots(parent) {
    for (const box of parent.querySelectorAll(".plot")) {
      observer.unobserve(box);
      plots.delete(box);
      if (box.dataset.drawn) window.Plotly.purge(box);
    }
  }

  const redraw = () => {
    for (const box of plots.keys()) if (box.dataset.drawn) draw(box);
  };

  function colors() {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue(`--${name}`).trim();
  }

  function withTheme(layout) {
    const color = colors();
    const axis = { gridcolor: color("line"), linecolor: color("line"), zeroline: false, automargin: true };
    const themed = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: color("text") },
      hoverlabel: {
        bgcolor: color("surface"), bordercolor: color("line"), align: "left", namelength: -1,
        font: { color: color("text"), size: 13, family: getComputedStyle(document.body).fontFamily },
      },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("muted"), activecolor: color("accent") },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: color("text") } },
      margin: { l: 8, r: 8, t: 8, b: 8 },
      dragmode: matchMedia("(hover: hover)").matches ? "zoom" : false, // a finger scrolls the page
      ...layout,
    };
    for (const name of ["xaxis", "yaxis"]) {
      themed[name] = { ...axis, ...layout[name] };
      themed[name].title = { standoff: 12, font: { size: 13 }, ...layout[name].title };
    }
    return themed;
  }

  /** Plotly reads some tags and entities in labels; data has none of them. */
  const plain = (text) =>
    String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  /** Up to `longest` characters. */
  const short = (text, longest = 70) =>
    (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);

  /** Round numbers between two, enough to read a logarithmic axis by. */
  function logTicks(low, high) {
    const steps = (step) => Array.from({ length: Math.round(9 / step) }, (_, n) => 1 + n * step);
    let ticks = [];
    for (const mantissas of [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7], steps(0.2), steps(0.05), steps(0.01)]) {
      ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
        for (const mantissa of mantissas) {
          const tick = Number((mantissa * 10 ** power).toPrecision(6));
          if (tick >= low && tick <= high) ticks.push(tick);
        }
      }
      if (ticks.length >= 4) break;
    }
    return ticks;
  }

  /**
   * Accuracies on a scale of errors: a logarithmic axis of 1 - accuracy, turned round, labelled
   * with accuracies in percent. It tells 99.5 from 99.7 and still has room for 90.
   */
  function accuracyAxis(accuracies, title) {
    const known = accuracies.filter((accuracy) => Number.isFinite(accuracy));
    const errors = known.map((accuracy) => 1 - accuracy).filter((error) => error > 1e-9);
    const floor = Math.max(errors.length ? Math.min(...errors) / 2 : 1e-4, 1e-6);
    const place = (accuracy) => (accuracy === null ? null : Math.max(1 - accuracy, floor));
    const low = Math.min(...known.map(place)), high = Math.max(...known.map(place));
    const margin = Math.max((high / low) ** 0.06, 1.02);
    const [from, to] = known.length ? [high * margin, low / margin] : [1, 1e-3];
    const ticks = logTicks(Math.max(to, floor * 1.01), Math.min(from, 1));
    const labels = ticks.map((error) => String(Number((100 * (1 - error)).toFixed(4))));
    if (low <= floor) {
      ticks.push(floor);
      labels.push("100");
    }
    return {
      place,
      axis: {
        type: "log", range: [Math.log10(from), Math.log10(to)], tickvals: ticks, ticktext: labels,
        title: { text: title },
      },
    };
  }

  const chosenFront = () => data.fronts[Number(byId("front-track").value)];
  const chosenCurves = () => data.curves.rankings[Number(byId("curves-track").value)];

  /** Of a select, those that the chosen ranking has; `first` is chosen if it lacks the last one. */
  function offer(select, offered, first) {
    for (const option of select.options) option.disabled = !offered.includes(option.value);
    if (!offered.includes(select.value)) select.value = first;
  }

  function offerScores() {
    const { scores, score } = chosenFront();
    offer(byId("front-score"), scores, score);
  }

  function offerMetrics() {
    const { metrics, words } = chosenCurves();
    offer(byId("curves-metric"), metrics, metrics[0]);
    byId("curves-note").textContent = words;
  }

  function frontFigure(color) {
    const track = chosenFront();
    const score = byId("front-score").value;
    const points = track.points;
    const drawn = points.id.length;
    byId("front-note").textContent = drawn === track.num_configs ? ""
      : `Dots that would hide each other are one: ${count(drawn)} for ${count(track.num_configs)} configurations.`;
    const wanted = points[score].map((value, n) => (value === null ? -1 : n)).filter((n) => n >= 0);
    const known = score === "test_acc" ? track.known : [];
    const scale = accuracyAxis([...wanted.map((n) => points[score][n]), ...known.map((r) => r.test_acc)],
      `${score}, % (on a scale of errors)`);
    const hover = (n) => [
      `<b>${plain(short(points.label[n]))}</b>`,
      `${count(points.num_params[n])} parameters`,
      `${score} ${measured(score, points[score][n])}` + (points.n[n] > 1 ? `, mean of n = ${points.n[n]}` : ", n = 1"),
      points.more[n] ? `${count(points.more[n])} more within a dot's width` : null,
    ].filter(Boolean).join("<br>");
    const trace = (places, rest) => ({
      type: "scatter",
      x: places.map((n) => points.num_params[n]),
      y: places.map((n) => scale.place(points[score][n])),
      customdata: places.map((n) => points.id[n]),
      text: places.map(hover),
      hovertemplate: "%{text}<extra></extra>",
      ...rest,
    });
    const best = wanted.filter((n) => points[`${score}_front`][n])
      .sort((a, b) => points.num_params[a] - points.num_params[b]);
    const others = wanted.filter((n) => !points[`${score}_front`][n]);
    const traces = [
      trace(others, { mode: "markers", name: "dominated",
        marker: { color: color("muted"), size: 7, opacity: 0.55 } }),
      trace(best, { mode: "lines+markers", name: "front: none is smaller and better",
        line: { shape: "hv", color: color("accent"), width: 1.5 },
        marker: { color: color("accent"), size: 10, line: { width: 1, color: color("page") } } }),
    ];
    for (const [kind, name] of [["credible", "known records"], ["claim", "claims, peaks picked on test"]]) {
      const records = known.filter((record) => record.kind === kind);
      if (!records.length) continue;
      traces.push({
        type: "scatter", mode: "markers", name,
        x: records.map((record) => record.num_params ?? record.max_params),
        y: records.map((record) => scale.place(record.test_acc)),
        text: records.map((r) => `${name}: ${measured("test_acc", r.test_acc)} ` +
          `${r.num_params ? `with ${count(r.num_params)}` : `under ${count(r.max_params)}`} parameters` +
          `${r.note ? `<br>${plain(r.note)}` : ""}`),
        hovertemplate: "%{text}<extra></extra>",
        marker: { symbol: kind === "claim" ? "x-thin-open" : "diamond-open", size: 10,
          color: color("second"), line: { width: 2, color: color("second") } },
      });
    }
    const sizes = [...wanted.map((n) => points.num_params[n]), ...known.map((r) => r.num_params ?? r.max_params)];
    const margin = Math.max((Math.max(...sizes) / Math.min(...sizes)) ** 0.05, 1.01);
    const [smallest, largest] = [Math.min(...sizes) / margin, Math.max(...sizes) * margin];
    const ticks = logTicks(smallest, largest);
    return { traces, layout: {
      hovermode: "closest",
      xaxis: { type: "log", title: { text: "parameters" }, range: [Math.log10(smallest), Math.log10(largest)],
        tickvals: ticks, ticktext: ticks.map(count) },
      yaxis: scale.axis,
    } };
  }

  const LINES = ["line-1", "line-2", "line-3", "line-4", "line-5", "line-6", "line-7", "line-8"];

  /** curves: [{id, name, epoch, metrics}, ...]; pruned: the same, drawn thin and grey. */
  function curvesFigure(color, metric, curves, pruned) {
    const having = (list) => list.filter((curve) => curve.metrics[metric]);
    const [lines, grey] = [having(curves), having(pruned)];
    const values = [...lines, ...grey].flatMap((curve) => curve.metrics[metric]).filter((v) => v !== null);
    const scale = isAccuracy(metric)
      ? accuracyAxis(values, `${metric}, % (on a scale of errors)`)
      : { place: (value) => (value > 0 ? value : null), axis: { type: "log", title: { text: `${metric} (nats)` } } };
    const traces = [];
    if (grey.length) {
      traces.push({
        type: "scatter", mode: "lines", name: "pruned trials", connectgaps: false,
        x: grey.flatMap((curve) => [...curve.epoch, null]),
        y: grey.flatMap((curve) => [...curve.metrics[metric].map(scale.place), null]),
        customdata: grey.flatMap((curve) => [...curve.epoch.map(() => curve.id), null]),
        text: grey.flatMap((curve) => [...curve.metrics[metric].map((value) =>
          `pruned: ${plain(curve.name)}<br>${metric} ${measured(metric, value)}`), null]),
        hovertemplate: "%{text}<extra></extra>",
        line: { color: color("muted"), width: 0.8 }, opacity: 0.6,
      });
      // A line of one point is none.
      const dots = grey.filter((curve) => curve.epoch.length === 1);
      traces.push({
        type: "scatter", mode: "markers", showlegend: false,
        x: dots.map((curve) => curve.epoch[0]),
        y: dots.map((curve) => scale.place(curve.metrics[metric][0])),
        customdata: dots.map((curve) => curve.id),
        text: dots.map((curve) =>
          `pruned: ${plain(curve.name)}<br>${metric} ${measured(metric, curve.metrics[metric][0])}`),
        hovertemplate: "%{text}<extra></extra>",
        marker: { color: color("muted"), size: 5, opacity: 0.6 },
      });
    }
    lines.forEach((curve, n) => traces.push({
      type: "scatter", mode: curve.epoch.length < 30 ? "lines+markers" : "lines",
      name: plain(short(curve.name, 40)),
      x: curve.epoch,
      y: curve.metrics[metric].map(scale.place),
      customdata: curve.epoch.map(() => curve.id),
      text: curve.metrics[metric].map((value, at) =>
        `<b>${plain(short(curve.name))}</b><br>epoch ${curve.epoch[at]}: ${metric} ${measured(metric, value)}`),
      hovertemplate: "%{text}<extra></extra>",
      line: { color: color(LINES[n % LINES.length]), width: 2 },
      marker: { size: 5 },
    }));
    return { traces, layout: {
      hovermode: "closest",
      showlegend: true,
      legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top" },
      xaxis: epochAxis([...lines, ...grey]),
      yaxis: scale.axis,
    } };
  }

  function epochAxis(curves) {
    const last = Math.max(...curves.flatMap((curve) => curve.epoch), 1);
    return { title: { text: "epoch" }, range: [0.6, last + Math.max(0.4, last / 50)], tickformat: "d",
      ...(last < 15 ? { dtick: 1, tick0: 1 } : {}) };
  }

  const curve = (id) => ({ id, ...data.curves.of[id] });

  function curveOf(id) {
    if (!data.curves.of[id]) return null;
    const box = element("div", { className: "plot small", role: "img" });
    const own = curve(id);
    const watched = ["train_acc", "val_acc", "test_acc"].filter((name) => own.metrics[name]);
    box.setAttribute("aria-label", `Accuracy of run ${id} over ${own.epoch.length} epochs, ending with ` +
      watched.map((name) => `${name} ${measured(name, own.metrics[name].at(-1))}`).join(", "));
    addPlot(box, (color) => {
      const scale = accuracyAxis(watched.flatMap((name) => own.metrics[name]), "accuracy, %");
      const traces = watched.map((name, n) => ({
        type: "scatter", mode: own.epoch.length < 30 ? "lines+markers" : "lines", name,
        x: own.epoch, y: own.metrics[name].map(scale.place),
        text: own.metrics[name].map((value, at) => `epoch ${own.epoch[at]}: ${name} ${measured(name, value)}`),
        hovertemplate: "%{text}<extra></extra>", line: { color: color(LINES[n]), width: 2 },
        marker: { size: 5 },
      }));
      return { traces, layout: { showlegend: true,
        xaxis: epochAxis([own]), yaxis: scale.axis } };
    });
    return element("section", {}, element("h3", {}, "Accuracy by epoch"), box);
  }

  function importanceFigure(color, importance) {
    const rows = [...importance].reverse();
    const names = rows.map((row) => plain(row.name));
    return { traces: [{
      type: "bar", orientation: "h", name: "share",
      x: rows.map((row) => row.share), y: names,
      hovertemplate: "%{y}: %{x:.1%}<extra></extra>",
      // More than chance gives is full, the rest pale.
      marker: { color: color("accent"), opacity: rows.map((row) => (row.share > row.chance ? 1 : 0.4)) },
    }, {
      type: "scatter", mode: "markers", name: "what chance gives in one of twenty",
      x: rows.map((row) => row.chance), y: names,
      hovertemplate: "by chance: up to %{x:.1%}<extra></extra>",
      marker: { symbol: "line-ns-open", size: 14, color: color("text"), line: { width: 2, color: color("text") } },
    }], layout: {
      height: 110 + 24 * rows.length, bargap: 0.35, hovermode: "closest", showlegend: true,
      xaxis: { title: { text: "share of the whole" }, rangemode: "tozero", tickformat: ".0%" },
      yaxis: { ticksuffix: "  ", showgrid: false },
    } };
  }

  function timelineFigure(color, timeline) {
    const statuses = [...new Set(timeline.status)];
    const traces = statuses.map((status) => {
      const places = timeline.status.map((s, n) => (s === status ? n : -1)).filter((n) => n >= 0);
      return {
        type: "bar", orientation: "h", name: plain(status),
        base: places.map((n) => timeline.start[n] * 1000),
        x: places.map((n) => timeline.seconds[n] * 1000),
        y: places.map((n) => timeline.lane[n] + 1),
        customdata: places.map((n) => timeline.id[n]),
        text: places.map((n) => `${plain(timeline.name[n])}: ${plain(status)}` +
          `<br>${timeline.seconds[n].toFixed(0)} s` +
          `<br>from ${new Date(timeline.start[n] * 1000).toISOString().slice(11, 19)} UTC`),
        textposition: "none",
        hovertemplate: "%{text}<extra></extra>",
        marker: { color: color(`status-${cssWord(status)}`) || color("muted"),
          line: { width: timeline.id.length > 300 ? 0 : 0.7, color: color("page") } },
      };
    });
    return { traces, layout: {
      barmode: "overlay", bargap: 0.2, height: 130 + 34 * Math.max(...timeline.lane, 0), hovermode: "closest",
      showlegend: true,
      xaxis: { type: "date", title: { text: "UTC" } },
      yaxis: { title: { text: "worker" }, dtick: 1, tickformat: "d", autorange: "reversed", showgrid: false },
    } };
  }

  function startPlots() {
    const onChange = (id, box) => byId(id)?.addEventListener("change", () => draw(box));
    const front = byId("front-plot");
    if (front) {
      offerScores();
      byId("front-track").addEventListener("change", offerScores);
    }
    addPlot(front, frontFigure);
    onChange("front-track", front);
    onChange("front-score", front);
    const curves = byId("curves-plot");
    if (curves) {
      offerMetrics();
      byId("curves-track").addEventListener("change", offerMetrics);
    }
    addPlot(curves, (color) => {
      const { best, pruned } = chosenCurves();
      return curvesFigure(color, byId("curves-metric").value, best.map(curve), pruned.map(curve));
    });
    onChange("curves-track", curves);
    onChange("curves-metric", curves);
    data.searches.forEach((search, n) => {
      addPlot(byId(`importance-${n}`), (color) => importanceFigure(color, search.importance));
      addPlot(byId(`timeline-${n}`), (color) => timelineFigure(color, search.timeline));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    addEventListener("beforeprint", () => {
      document.documentElement.dataset.print = "true"; // page.css: light, whatever the screen is
      for (const box of plots.keys()) draw(box);
    });
    addEventListener("afterprint", () => {
      delete document.documentElement.dataset.print;
      redraw();
    });
    window.requestIdleCallback?.(loadPlotly);
  }

  startTable();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
  startPanel();
  requestAnimationFrame(() => setTimeout(startPlots)); // after the table is on the screen
})();
