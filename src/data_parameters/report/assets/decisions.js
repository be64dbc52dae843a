// What was decided: kept by the browser, written as CSV, read again.

const VERDICTS = { wrong: "Wrong", fine: "Fine", unclear: "Unclear", exclude: "Exclude" };
const COUNTED = { wrong: "wrong", fine: "fine", unclear: "unclear", exclude: "excluded" };
const COLUMNS = ["index", "source_row", "given_label", "decision", "label", "note", "dataset"];
const NEEDED = ["index", "given_label", "decision", "label", "dataset"];

/** Decisions by instance: { decision, label, given, source, note }. */
const decisions = {
  key: `data-parameters/decisions/${DATA.run.key}/${DATA.run.dataset}`,
  found: new Map(),
  before: [],

  read() {
    try {
      this.found = new Map(JSON.parse(store.get(this.key) ?? "[]"));
    } catch {
      this.found = new Map();
      say("The decisions that the browser kept for this page cannot be read; starting with none.");
    }
  },
  keep() {
    if (!store.set(this.key, JSON.stringify([...this.found])))
      say("The browser keeps nothing for this page: export the decisions before you leave it.");
  },
  get(index) {
    return this.found.get(index);
  },
  set(index, decision) {
    this.before.push([index, this.found.get(index)]);
    if (decision) this.found.set(index, decision);
    else this.found.delete(index);
    this.keep();
  },
  /** Take back the last decision; returns its instance. */
  undo() {
    if (!this.before.length) return null;
    const [index, decision] = this.before.pop();
    if (decision) this.found.set(index, decision);
    else this.found.delete(index);
    this.keep();
    return index;
  },
  add(rows) {
    for (const [index, decision] of rows) this.found.set(index, decision);
    this.before = [];
    this.keep();
  },
  clear() {
    this.found.clear();
    this.before = [];
    this.keep();
  },
  counts() {
    const counts = Object.fromEntries(Object.keys(VERDICTS).map((verdict) => [verdict, 0]));
    for (const { decision } of this.found.values()) counts[decision] += 1;
    return counts;
  },
};

// Classes by what a file may call them: their names, of which several may share one, and their
// numbers unless a class is named by a number.
const CALLED = new Map();
CLASSES.forEach((each, label) => CALLED.set(each.trim(), [...(CALLED.get(each.trim()) ?? []), label]));
const NUMBERED = ![...CALLED.keys()].some((each) => /^\d+$/.test(each));
const callClass = (label) => (NUMBERED && CALLED.get(CLASSES[label].trim()).length > 1 ? String(label) : CLASSES[label]);
if (NUMBERED) CLASSES.forEach((_, label) => CALLED.set(String(label), [label]));

const quoted = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function decisionsAsCsv() {
  const rows = [...decisions.found]
    .sort(([a], [b]) => a - b)
    .map(([index, { decision, label, given, source, note }]) =>
      [index, source ?? "", callClass(given), decision, label === null ? "" : callClass(label), note, DATA.run.dataset].map(String),
    );
  return [COLUMNS, ...rows].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
}

/** Rows of a CSV text, each with the line it starts on. */
function parseCsv(text) {
  const rows = [];
  let row = { line: 1, fields: [] };
  let field = "";
  let inside = false;
  let line = 1;
  const endRow = () => {
    row.fields.push(field);
    field = "";
    if (row.fields.length > 1 || row.fields[0] !== "") rows.push(row);
    row = { line, fields: [] };
  };
  for (let place = 0; place < text.length; place += 1) {
    const character = text[place];
    if (character === "\n") line += 1;
    if (inside) {
      if (character !== '"') field += character;
      else if (text[place + 1] === '"') {
        field += '"';
        place += 1;
      } else inside = false;
    } else if (character === '"' && field === "") inside = true;
    else if (character === ",") {
      row.fields.push(field);
      field = "";
    } else if (character === "\n") endRow();
    else if (character !== "\r") field += character;
  }
  if (inside) throw new Error(`Line ${row.line}: a quotation mark should be closed. Export the file anew.`);
  endRow();
  return rows;
}

/** Decisions of a CSV text, checked against this page; an error names the line. */
function decisionsFromCsv(text, positions) {
  const [head, ...rows] = parseCsv(text.replace(/^\uFEFF/, ""));
  const missing = NEEDED.filter((column) => !head?.fields.includes(column));
  if (missing.length) throw new Error(`The file should have the columns ${NEEDED.join(", ")}. Missing: ${missing.join(", ")}.`);
  const seen = new Map();
  return rows.map(({ line, fields }) => {
    const row = Object.fromEntries(head.fields.map((column, place) => [column, fields[place] ?? ""]));
    const check = (holds, words) => {
      if (!holds) throw new Error(`Line ${line}: ${words} Nothing was imported.`);
    };
    const label = (column, preferred = null) => {
      const found = CALLED.get(row[column].trim()) ?? [];
      const words = `Found “${row[column].slice(0, 100)}”.`;
      check(found.length > 0, `${column} should be a class of this data set. ${words}`);
      check(found.length === 1 || found.includes(preferred), `${column} should say which class of this name is meant, by its number. ${words}`);
      return found.includes(preferred) ? preferred : found[0];
    };
    check(row.dataset.trim() === DATA.run.dataset, `dataset should be ${DATA.run.dataset}, the fingerprint of these labels. Found “${row.dataset.slice(0, 100)}”: the decisions are about other data.`);
    const index = /^\d+$/.test(row.index.trim()) ? Number(row.index) : NaN;
    check(index < DATA.run.num_instances, `index should be an instance, 0 to ${DATA.run.num_instances - 1}. Found “${row.index.slice(0, 100)}”.`);
    check(!seen.has(index), `instance ${index} was decided before, on line ${seen.get(index)}.`);
    seen.set(index, line);
    const verdict = row.decision.trim();
    check(Object.hasOwn(VERDICTS, verdict), `decision should be ${Object.keys(VERDICTS).join(", ")}. Found “${verdict.slice(0, 100)}”.`);
    const position = positions.get(index);
    const given = label("given_label", position === undefined ? null : DATA.instances.given_label[position]);
    check(position === undefined || DATA.instances.given_label[position] === given, `given_label of instance ${index} should be “${className(DATA.instances.given_label[position])}”.`);
    const right = row.label.trim() ? label("label", verdict === "wrong" ? null : given) : null;
    if (verdict === "wrong") check(right !== null && right !== given, "a wrong label should come with the right one in label.");
    return [index, { decision: verdict, label: verdict === "wrong" ? right : null, given, source: row.source_row?.trim() || null, note: row.note ?? "" }];
  });
}
