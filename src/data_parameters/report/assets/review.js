// The review table: sorted, filtered, paged; decided by mouse or by keyboard.

const PAGE = 50;
const KEYS = [
  [["J", "↓"], "next"],
  [["K", "↑"], "previous"],
  [["W"], "wrong, with the suggested label"],
  [["L"], "wrong, choose the label"],
  [["F"], "fine"],
  [["U"], "unclear"],
  [["X"], "exclude"],
  [["⌫"], "clear"],
  [["Z"], "undo"],
  [["Enter"], "enlarge"],
  [["/"], "search"],
];

function createReview(data) {
  const count = data.index.length;
  const positions = new Map(data.index.map((index, position) => [index, position]));
  const range = data.log_temperature ? extent(data.log_temperature) : [0, 1];
  const suggestion = (position) => {
    const label = data.predicted_label?.[position] ?? -1;
    return label >= 0 && label !== data.given_label[position] ? label : null;
  };
  const SORTS = [
    ["score", "Score", (position) => data.label_score[position]],
    ["sigma", "σ", data.temperature && ((position) => -(data.temperature[position] ?? -Infinity))],
    ["margin", "Margin", data.margin && ((position) => data.margin[position] ?? Infinity)],
    ["given", "Given label", (position) => data.given_label[position]],
    ["suggested", "Suggested label", data.predicted_label && ((position) => suggestion(position) ?? Infinity)],
    ["index", "Instance", (position) => data.index[position]],
  ].filter(([, , key]) => key);
  const start = { search: "", given: "", suggested: "", verdict: "", low: "", high: "", issues: false };
  const state = { ...start, sort: "score", reversed: false, page: 0, known: false, current: null };
  let found = [];
  let texts = null;
  let controls = {};
  const body = el("tbody");
  const counter = el("p", { class: "counter", "aria-live": "polite" });
  const pager = el("nav", { class: "pager", "aria-label": "Pages of the table" });
  const progress = el("div", { class: "progress" });
  const heads = el("tr");

  // -- which rows, in which order

  function searchable() {
    texts ??= data.index.map((index, position) => {
      const { name: file = "", text = "" } = data.previews[position] ?? {};
      const labels = [data.given_label[position], suggestion(position)].map((label) => (label === null ? "" : CLASSES[label]));
      return [index, file, text, ...labels].join("\n").toLowerCase();
    });
    return texts;
  }

  function select() {
    const wanted = state.search.trim().toLowerCase();
    const all = wanted ? searchable() : null;
    const matches = (position) => {
      const verdict = decisions.get(data.index[position])?.decision ?? "undecided";
      const value = data.label_score[position];
      return (
        (!all || all[position].includes(wanted)) &&
        (state.given === "" || data.given_label[position] === state.given) &&
        (state.suggested === "" || suggestion(position) === state.suggested) &&
        (state.verdict === "" || verdict === state.verdict || (state.verdict === "decided" && verdict !== "undecided")) &&
        (state.low === "" || value >= state.low) &&
        (state.high === "" || value <= state.high) &&
        (!state.issues || data.is_label_issue[position])
      );
    };
    const [, , key] = SORTS.find(([each]) => each === state.sort);
    const side = state.reversed ? -1 : 1;
    found = [];
    for (let position = 0; position < count; position += 1) if (matches(position)) found.push(position);
    found.sort((a, b) => {
      const [first, second] = [key(a), key(b)];
      return side * (first < second ? -1 : first > second ? 1 : 0) || a - b;
    });
    state.page = 0;
    state.current = found[0] ?? null;
    paint();
  }

  // -- drawing

  function preview(position, large = false) {
    const { name: file = "", text, image } = data.previews[position] ?? {};
    const words = `instance ${data.index[position]}`;
    if (image?.startsWith("data:image/"))
      return el("img", { src: image, alt: file || words, class: large ? "large" : "thumb", decoding: "async", onload: pixelated });
    if (text !== undefined) return el("p", { class: large ? "text" : "text clamped", dir: "auto" }, text);
    return large ? el("p", { class: "quiet-words" }, "No preview on this page.") : null;
  }

  function pixelated(event) {
    if (event.target.naturalWidth <= 48) event.target.classList.add("pixels");
  }

  function verdicts(position, { tabindex = "0", after = () => {} } = {}) {
    const index = data.index[position];
    const decided = decisions.get(index);
    const choices = Object.entries(VERDICTS).map(([verdict, words]) => {
      const pressed = decided?.decision === verdict;
      const action = () => {
        if (verdict === "wrong" && !pressed) return markWrong(position, after);
        mark(position, pressed ? null : verdict);
        return after();
      };
      return button(words, action, { class: `verdict ${verdict}`, "aria-pressed": String(pressed), tabindex });
    });
    const right =
      decided?.label === null || decided === undefined
        ? null
        : el("p", { class: "right-label" }, "should be ", button(name(className(decided.label)), () => ask(position, after), { class: "link", title: "Choose another label", tabindex }));
    return [el("div", { class: "verdicts", role: "group", "aria-label": `Decision on instance ${index}` }, ...choices), right];
  }

  function rowOf(position) {
    const index = data.index[position];
    const { name: file = "" } = data.previews[position] ?? {};
    const picture = preview(position);
    const suggested = suggestion(position);
    const known = state.known && data.true_label ? data.true_label[position] : -1;
    const verdict = decisions.get(index)?.decision ?? "";
    return el(
      "tr",
      {
        "data-position": position,
        "data-verdict": verdict,
        tabindex: position === state.current ? "0" : "-1",
        "aria-current": position === state.current ? "true" : null,
        "aria-label": `Instance ${index}, given ${className(data.given_label[position])}${suggested === null ? "" : `, suggested ${className(suggested)}`}${verdict ? `, decided ${verdict}` : ""}`,
      },
      el(
        "td",
        { class: "instance" },
        picture ? el("button", { type: "button", class: "preview", tabindex: "-1", "aria-label": `Enlarge instance ${index}`, onclick: () => detail(position) }, picture) : null,
        el("span", { class: "where" }, `#${index}`, file ? [" ", el("bdi", { class: "file" }, file)] : null),
      ),
      el("td", { "data-title": "Given" }, name(className(data.given_label[position]))),
      data.predicted_label ? el("td", { "data-title": "Suggested" }, suggested === null ? el("span", { class: "quiet-words" }, "–") : name(className(suggested)), known >= 0 ? el("p", { class: "known" }, "known: ", name(className(known))) : null) : null,
      el("td", { class: "number", "data-title": "Score" }, score(data.label_score[position]), data.is_label_issue[position] ? el("span", { class: "flag", title: "Below the threshold" }, "issue") : null),
      data.temperature ? el("td", { class: "number", "data-title": "σ" }, sigma(data.temperature[position])) : null,
      data.log_temperature ? el("td", { class: "trajectory", "data-title": "σ over the epochs" }, sparkline(data.log_temperature[position], range)) : null,
      data.margin ? el("td", { class: "number", "data-title": "Margin" }, decimal(data.margin[position], 2)) : null,
      el("td", { class: "decision", "data-title": "Decision" }, ...verdicts(position, { tabindex: position === state.current ? "0" : "-1" })),
    );
  }

  function paintHeads() {
    const head = (title, sort, look = "") =>
      el(
        "th",
        { scope: "col", class: look, "aria-sort": sort && sort === state.sort ? (state.reversed !== (sort === "sigma") ? "descending" : "ascending") : null },
        SORTS.some(([each]) => each === sort)
          ? button(title, () => {
              Object.assign(state, { reversed: state.sort === sort && !state.reversed, sort });
              select();
            }, { class: "sort", "data-sort": sort })
          : title,
      );
    heads.replaceChildren(
      ...[
        head("Instance", "index"),
        head("Given", "given"),
        data.predicted_label ? head("Suggested", "suggested") : null,
        head("Score", "score", "number"),
        data.temperature ? head("σ", "sigma", "number") : null,
        data.log_temperature ? head("σ over the epochs") : null,
        data.margin ? head("Margin", "margin", "number") : null,
        head("Decision"),
      ].filter(Boolean),
    );
  }

  function paintProgress() {
    const counts = decisions.counts();
    const total = Object.values(counts).reduce((sum, each) => sum + each, 0);
    progress.replaceChildren(
      el("p", {}, el("b", {}, whole.format(total)), ` decided: `, Object.entries(counts).map(([verdict, each]) => `${each} ${COUNTED[verdict]}`).join(", ")),
    );
    for (const control of [controls.export, controls.clear]) control.disabled = total === 0;
  }

  function paint() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const shown = found.slice(state.page * PAGE, (state.page + 1) * PAGE);
    body.replaceChildren(...shown.map(rowOf));
    if (!shown.length) body.append(el("tr", {}, el("td", { class: "empty", colspan: "8" }, "No instance matches. Widen the filters or clear the search.")));
    paintHeads();
    paintProgress();
    controls.sort.value = state.sort;
    counter.textContent = `${plural(found.length, "instance")} of ${whole.format(count)}`;
    const turn = (step) => () => {
      state.page += step;
      state.current = found[state.page * PAGE];
      paint();
    };
    pager.replaceChildren(
      button("Previous", turn(-1), { disabled: state.page === 0 }),
      el("span", {}, `Page ${state.page + 1} of ${pages}`),
      button("Next", turn(1), { disabled: state.page >= pages - 1 }),
    );
  }

  const rowAt = (position) => body.querySelector(`tr[data-position="${position}"]`);

  function repaintRow(position, focused = false) {
    const old = rowAt(position);
    if (!old) return;
    const next = rowOf(position);
    old.replaceWith(next);
    if (focused) next.focus({ preventScroll: true });
  }

  // -- deciding

  function mark(position, verdict, label = null) {
    const index = data.index[position];
    const held = decisions.get(index);
    const decision = verdict && {
      decision: verdict,
      label,
      given: data.given_label[position],
      source: data.source_row?.[position] ?? null,
      note: held?.note ?? "",
    };
    decisions.set(index, decision);
    const focused = rowAt(position)?.contains(document.activeElement) ?? false;
    repaintRow(position, focused);
    paintProgress();
    say(verdict ? `Instance ${index}: ${COUNTED[verdict]}${label === null ? "" : `, should be ${className(label)}`}.` : `Instance ${index}: no decision.`);
  }

  function ask(position, after = () => {}) {
    chooseLabel({
      title: `Right label for instance ${data.index[position]}`,
      given: data.given_label[position],
      suggested: suggestion(position),
      done: (label) => {
        mark(position, "wrong", label);
        after();
      },
    });
  }

  function markWrong(position, after = () => {}) {
    const label = suggestion(position);
    if (label === null) {
      ask(position, after);
      return;
    }
    mark(position, "wrong", label);
    after();
  }

  function go(position, { focus = true } = {}) {
    const place = found.indexOf(position);
    if (place < 0) return;
    const before = state.current;
    state.current = position;
    const page = Math.floor(place / PAGE);
    if (page === state.page) {
      repaintRow(before);
      repaintRow(position);
    } else {
      state.page = page;
      paint();
    }
    if (!focus) return;
    const row = rowAt(position);
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  const neighbour = (position, step) => found[found.indexOf(position) + step] ?? position;

  function onKey(event, dialog = null) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const position = state.current;
    if (position === null) return;
    const follow = (next) => {
      go(next, { focus: !dialog });
      if (dialog) detail(next);
    };
    const advance = () => follow(neighbour(position, 1));
    const decide = (verdict) => {
      mark(position, verdict);
      advance();
    };
    const actions = {
      j: () => follow(neighbour(position, 1)),
      arrowdown: () => follow(neighbour(position, 1)),
      k: () => follow(neighbour(position, -1)),
      arrowup: () => follow(neighbour(position, -1)),
      w: () => markWrong(position, advance),
      l: () => ask(position, advance),
      f: () => decide("fine"),
      u: () => decide("unclear"),
      x: () => decide("exclude"),
      backspace: () => mark(position, null),
      delete: () => mark(position, null),
      z: undo,
      "/": () => !dialog && controls.search.focus(),
    };
    const key = event.key.toLowerCase();
    if (key === "enter" && !dialog && event.target.matches("tr")) detail(position);
    else if (Object.hasOwn(actions, key)) actions[key]();
    else return;
    event.preventDefault();
  }

  function undo() {
    const index = decisions.undo();
    if (index === null) return say("There is nothing to undo.");
    const position = positions.get(index);
    repaintRow(position);
    paintProgress();
    say(`Instance ${index}: taken back.`);
    return byId("detail").open ? detail(position) : go(position);
  }

  function detail(position) {
    go(position, { focus: false });
    const index = data.index[position];
    const { name: file = "" } = data.previews[position] ?? {};
    const suggested = suggestion(position);
    const facts = [
      ["given label", name(className(data.given_label[position]))],
      data.predicted_label && ["suggested label", suggested === null ? "none" : name(className(suggested))],
      state.known && data.true_label && ["known label", name(className(data.true_label[position]))],
      ["score", score(data.label_score[position])],
      data.temperature && ["σ", decimal(data.temperature[position], 3)],
      data.margin && ["mean margin", decimal(data.margin[position], 3)],
      file && ["from", el("bdi", { class: "file" }, file)],
      data.source_row && ["row of the source", whole.format(data.source_row[position])],
    ].filter(Boolean);
    const values = data.log_temperature?.[position];
    const trajectory = values && epochChart({
      title: "σ over the epochs",
      epochs: data.epochs,
      domain: range,
      ticks: sigmaTicks(range),
      format: tickWords,
      readout: (place) => `σ ${sigma(values[place] === null ? null : Math.exp(values[place]))}`,
      draw: (plot, { x, y }) => plot.append(svg("path", { class: "line blue", d: path(values.map((value, place) => [x(data.epochs[place]), value === null ? null : y(value)])) })),
    });
    showDetail({ title: `Instance ${index}`, preview: preview(position, true), facts, choices: verdicts(position, { after: () => detail(position) }), trajectory, onkey: onKey });
  }

  // -- the tools above the table

  function classSelect(title, key, labels) {
    const counts = new Map();
    for (const label of labels) if (label !== null) counts.set(label, (counts.get(label) ?? 0) + 1);
    const options = [...counts.keys()].sort((a, b) => a - b).map((label) => el("option", { value: label }, `${CLASSES[label]} (${counts.get(label)})`));
    controls[key] = el("select", { onchange: (event) => change({ [key]: event.target.value === "" ? "" : Number(event.target.value) }) }, el("option", { value: "" }, "all"), ...options);
    return el("label", {}, title, controls[key]);
  }

  function change(values) {
    Object.assign(state, values);
    select();
  }

  function number(title, key) {
    controls[key] = el("input", { type: "number", min: "0", max: "1", step: "0.01", oninput: (event) => change({ [key]: event.target.value === "" ? "" : Number(event.target.value) }) });
    return el("label", {}, title, controls[key]);
  }

  function box(title, key, action) {
    controls[key] = el("input", { type: "checkbox", onchange: (event) => action(event.target.checked) });
    return el("label", { class: "check" }, controls[key], title);
  }

  function tools() {
    controls.search = el("input", { type: "search", placeholder: "Text, file, class or number", spellcheck: "false", oninput: (event) => change({ search: event.target.value }) });
    controls.sort = el("select", { onchange: (event) => change({ sort: event.target.value, reversed: false }) }, ...SORTS.map(([key, title]) => el("option", { value: key }, title)));
    controls.verdict = el(
      "select",
      { onchange: (event) => change({ verdict: event.target.value }) },
      el("option", { value: "" }, "all"),
      el("option", { value: "undecided" }, "undecided"),
      el("option", { value: "decided" }, "decided"),
      ...Object.entries(VERDICTS).map(([verdict, words]) => el("option", { value: verdict }, words.toLowerCase())),
    );
    controls.export = button("Export decisions", exportCsv, { class: "primary" });
    controls.clear = button("Clear all", clearAll, { class: "quiet" });
    controls.file = el("input", { type: "file", accept: ".csv,text/csv", class: "file-input", onchange: importCsv });
    return el(
      "div",
      { class: "tools" },
      el(
        "div",
        { class: "filters", role: "search", "aria-label": "Filter the instances" },
        el("label", { class: "grow" }, "Search", controls.search),
        classSelect("Given", "given", data.given_label),
        data.predicted_label ? classSelect("Suggested", "suggested", data.index.map((_, position) => suggestion(position))) : null,
        el("label", {}, "Decision", controls.verdict),
        number("Score from", "low"),
        number("to", "high"),
        el("label", {}, "Sort by", controls.sort),
        box("label issues only", "issues", (checked) => change({ issues: checked })),
        data.true_label ? box("show known labels", "known", (checked) => { state.known = checked; paint(); }) : null,
        button("Reset", () => filter({}), { class: "quiet" }),
      ),
      el("div", { class: "ledger" }, progress, el("div", { class: "actions" }, controls.export, el("label", { class: "button" }, "Import decisions", controls.file), controls.clear)),
    );
  }

  function filter(values) {
    Object.assign(state, start, values);
    for (const key of ["search", "given", "suggested", "verdict", "low", "high"]) if (controls[key]) controls[key].value = state[key];
    controls.issues.checked = state.issues;
    select();
    if (Object.keys(values).length) byId("review").scrollIntoView();
  }

  function exportCsv() {
    const address = URL.createObjectURL(new Blob([decisionsAsCsv()], { type: "text/csv;charset=utf-8" }));
    const file = `decisions-${DATA.run.name.replace(/[^\p{L}\p{N}_-]+/gu, "-").slice(0, 60)}.csv`;
    el("a", { href: address, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    say(`Exported ${plural(decisions.found.size, "decision")}. Train on them with: data-parameters train … --labels ${file}`);
  }

  async function importCsv(event) {
    const [file] = event.target.files;
    if (!file) return;
    try {
      const rows = decisionsFromCsv(await file.text(), positions);
      decisions.add(rows);
      paint();
      say(`Imported ${plural(rows.length, "decision")}.`);
    } catch (error) {
      say(error.message);
    }
    event.target.value = "";
  }

  function clearAll() {
    if (!confirm(`Forget ${plural(decisions.found.size, "decision")}? Export them first if you need them.`)) return;
    decisions.clear();
    paint();
  }

  function open() {
    decisions.read();
    byId("review-table").append(
      tools(),
      el("p", { class: "keys", "aria-label": "Keys within the table" }, ...KEYS.flatMap(([keys, words]) => [el("span", {}, ...keys.map((key) => el("kbd", {}, key)), ` ${words}`)])),
      counter,
      el("table", { class: "review", "aria-label": "Instances to review" }, el("thead", {}, heads), body),
      pager,
    );
    body.addEventListener("keydown", (event) => onKey(event));
    body.addEventListener("focusin", (event) => {
      const position = Number(event.target.closest("tr")?.dataset.position ?? NaN);
      if (Number.isNaN(position) || position === state.current) return;
      const before = rowAt(state.current);
      state.current = position;
      if (before) {
        before.tabIndex = -1;
        before.removeAttribute("aria-current");
      }
      const row = rowAt(position);
      row.tabIndex = 0;
      row.setAttribute("aria-current", "true");
    });
    byId("detail").addEventListener("close", () => state.current !== null && go(state.current));
    // The same page may be open twice.
    addEventListener("storage", (event) => {
      if (event.key !== decisions.key) return;
      decisions.read();
      paint();
    });
    select();
  }

  return { open, filter };
}
