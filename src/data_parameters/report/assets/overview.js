// Everything above the review: facts, curves, temperatures, noise, classes.

const show = (id) => {
  byId(id).hidden = false;
};

function overview() {
  const { run, noise, accuracy } = DATA;
  document.title = `${run.name} · run report`;
  byId("title").append(name(run.name));
  byId("summary").append(...run.summary.map((fact) => el("li", {}, fact)));
  if (run.missing.length)
    byId("missing").append(
      el("div", { class: "notice" }, el("p", {}, "What this page cannot show:"), el("ul", {}, ...run.missing.map((line) => el("li", {}, line)))),
    );
  const tiles = [];
  const test = accuracy?.series.Test;
  if (test) tiles.push([percent(test.at(-1)), "test accuracy", `after epoch ${accuracy.epochs.at(-1)}`]);
  if (noise) {
    tiles.push([percent(noise.rate), "of the labels estimated wrong", noise.known_rate === null ? null : `${percent(noise.known_rate)} are known to be`]);
    tiles.push([whole.format(noise.num_issues), "label issues", "below the threshold"]);
    if (noise.auroc !== null)
      tiles.push([decimal(noise.auroc, 3), "AUROC of the score", `average precision ${decimal(noise.average_precision, 3)}`]);
  }
  byId("tiles").append(
    ...tiles.map(([value, words, more]) => el("div", {}, el("dt", {}, words), el("dd", {}, value, more ? el("small", {}, more) : null))),
  );
  if (run.result.length) byId("result").append(el("ul", { class: "plain" }, ...run.result.map((line) => el("li", {}, line))));
  byId("settings").append(settings(run));
}

function settings({ settings: values, versions, key, dataset }) {
  const groups = [["run", {}]];
  for (const [title, value] of Object.entries(values))
    if (value !== null && typeof value === "object" && !Array.isArray(value)) groups.push([title, value]);
    else groups[0][1][title] = value;
  groups.push(["versions", versions], ["fingerprints", { configuration: key, dataset }]);
  const words = (value) =>
    value === null ? "none" : Array.isArray(value) ? value.join(", ") || "none" : value === true ? "yes" : value === false ? "no" : String(value);
  return el(
    "details",
    { class: "settings" },
    el("summary", {}, "Configuration and versions"),
    el(
      "div",
      { class: "columns" },
      ...groups.map(([title, entries]) =>
        el(
          "div",
          { class: "group" },
          el("h3", {}, title),
          el("dl", {}, ...Object.entries(entries).flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, name(words(value)))])),
        ),
      ),
    ),
  );
}

function curves() {
  const { accuracy, loss } = DATA;
  if (!accuracy) return;
  show("accuracy");
  byId("accuracy-charts").append(
    lineChart({ title: "Accuracy", note: "Training accuracy is against the given labels, wrong ones included.", ...accuracy, format: percent, domain: [0, 1] }),
  );
  if (loss)
    byId("accuracy-charts").append(lineChart({ title: "Training loss", note: "Cross-entropy at the temperatures, in nats.", ...loss, format: (value) => decimal(value, 2) }));
}

function temperatures() {
  const { spread } = DATA;
  if (!spread || !spread.epochs.length) return;
  show("temperatures");
  byId("temperature-charts").append(spreadHeatMap(spread));
  if (spread.groups.length > 2)
    byId("temperature-charts").append(groupChart({ epochs: spread.epochs, groups: spread.groups.slice(1) }));
}

const MATRIX_CLASSES = 12;
const LISTED_PAIRS = 20;

function noise(review) {
  const { noise: found } = DATA;
  if (!found) return;
  show("noise");
  const known = found.known_rate === null ? "" : ` ${percent(found.known_rate)} are known to be wrong.`;
  byId("noise-words").textContent =
    `About ${percent(found.rate)} of the trained labels are estimated to be wrong.${known} ` +
    `${plural(found.num_issues, "label issue")} lie below the threshold that the scores themselves suggest.`;
  if (!found.pairs.length) return;
  const look = (given, suggested) => () => review.filter({ given, suggested });
  byId("noise-pairs").append(CLASSES.length <= MATRIX_CLASSES ? matrix(found.pairs, look) : pairs(found.pairs, look));
}

function matrix(found, look) {
  const counts = new Map(found.map(([given, suggested, count]) => [given * CLASSES.length + suggested, count]));
  const most = found[0][2];
  const cell = (given, suggested) => {
    const count = counts.get(given * CLASSES.length + suggested);
    if (given === suggested || !count) return el("td", {}, given === suggested ? "·" : "");
    const words = `${count} given ${CLASSES[given]}, suggested ${CLASSES[suggested]}`;
    return el("td", { "--share": count / most }, button(whole.format(count), look(given, suggested), { title: words, "aria-label": words }));
  };
  return el(
    "figure",
    {},
    el("figcaption", {}, el("h3", {}, "Given against suggested label"), el("p", {}, "Counts of label issues; choose a cell to review it.")),
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        { class: "matrix" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "given ↓ suggested →"), ...CLASSES.map((each) => el("th", { scope: "col" }, name(each))))),
        el(
          "tbody",
          {},
          ...CLASSES.map((each, given) => el("tr", {}, el("th", { scope: "row" }, name(each)), ...CLASSES.map((_, suggested) => cell(given, suggested)))),
        ),
      ),
    ),
  );
}

function pairs(found, look) {
  const most = found[0][2];
  return el(
    "figure",
    {},
    el("figcaption", {}, el("h3", {}, "Given label, and the one suggested instead"), el("p", {}, "The most frequent pairs among the label issues; choose one to review it.")),
    el(
      "ol",
      { class: "pairs" },
      ...found
        .slice(0, LISTED_PAIRS)
        .map(([given, suggested, count]) =>
          el(
            "li",
            { "--share": count / most },
            el("button", { type: "button", onclick: look(given, suggested) }, name(CLASSES[given]), el("span", { class: "arrow" }, " → "), name(CLASSES[suggested]), el("b", {}, whole.format(count))),
          ),
        ),
    ),
  );
}

const LISTED_CLASSES = 20;

function classes(review) {
  const { classes: found } = DATA;
  if (!found) return;
  show("classes");
  byId("classes-words").textContent = found.log_temperature
    ? `${found.meaning} Each strip runs from the first epoch to the last; the darker, the higher.`
    : "Trained instances of each given label.";
  const range = found.log_temperature && extent(found.log_temperature);
  const trajectory = (label) => found.log_temperature.map((row) => row[label]);
  const last = (label) => found.log_temperature.at(-1)[label];
  const columns = [
    { title: "Instances", value: (label) => found.count[label], words: (value) => whole.format(value) },
    found.estimated_wrong && { title: "Estimated wrong", value: (label) => found.estimated_wrong[label], words: (value) => percent(value, 0), bar: true },
    found.known_wrong && { title: "Known wrong", value: (label) => found.known_wrong[label], words: (value) => percent(value, 0), bar: true },
    found.log_temperature && { title: "Last σ", value: last, words: (value) => sigma(value === null ? null : Math.exp(value)) },
  ].filter(Boolean);
  const ranked = columns.find(({ bar }) => bar) ?? columns.at(-1);
  const state = { column: ranked, ascending: false, all: CLASSES.length <= LISTED_CLASSES };
  const holder = byId("classes-table");

  function paint() {
    const order = CLASSES.map((_, label) => label);
    if (state.column) {
      const side = state.ascending ? 1 : -1;
      order.sort((a, b) => side * ((state.column.value(a) ?? -Infinity) - (state.column.value(b) ?? -Infinity)));
    }
    const rows = (state.all ? order : order.slice(0, LISTED_CLASSES)).map((label) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, el("button", { type: "button", class: "link", onclick: () => review.filter({ given: label }) }, name(CLASSES[label]))),
        ...columns.map(({ value, words, bar }) => {
          const number = value(label);
          return el("td", bar ? { class: "number share", "--share": number ?? 0 } : { class: "number" }, words(number));
        }),
        found.log_temperature ? el("td", { class: "wide" }, strip(trajectory(label), range, `σ of ${CLASSES[label]} over the epochs`)) : null,
      ),
    );
    const heads = columns.map((column) =>
      el(
        "th",
        { scope: "col", class: "number", "aria-sort": column === state.column ? (state.ascending ? "ascending" : "descending") : null },
        button(column.title, () => {
          state.ascending = column === state.column && !state.ascending;
          state.column = column;
          paint();
        }, { class: "sort" }),
      ),
    );
    holder.replaceChildren(
      el(
        "div",
        { class: "scroll" },
        el(
          "table",
          { class: "classes" },
          el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Class"), ...heads, found.log_temperature ? el("th", { scope: "col" }, "σ over the epochs") : null)),
          el("tbody", {}, ...rows),
        ),
      ),
      state.all ? "" : button(`Show all ${whole.format(CLASSES.length)} classes`, () => { state.all = true; paint(); }),
    );
  }
  paint();
}

const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };

function theme() {
  const key = "data-parameters/theme";
  const order = Object.keys(THEMES);
  const control = byId("theme");
  let current = order.includes(store.get(key)) ? store.get(key) : "auto";
  const apply = () => {
    if (current === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = current;
    control.textContent = `◐ ${THEMES[current]}`;
    control.setAttribute("aria-label", `Colours: ${THEMES[current].toLowerCase()}`);
  };
  control.addEventListener("click", () => {
    current = order[(order.indexOf(current) + 1) % order.length];
    store.set(key, current);
    apply();
  });
  apply();
}

function navigation() {
  for (const section of document.querySelectorAll("main > section:not([hidden])")) {
    const title = section.id === "overview" ? "Overview" : section.querySelector("h2").textContent;
    byId("sections").append(el("a", { href: `#${section.id}` }, title));
  }
}

/** On paper there is nothing to open. */
function print() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const each of opened) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of opened) each.open = false;
  });
}
