// Two dialogs: which label is right, and all about one instance.

const MATCHES = 200;

/** Ask for a class; `suggested` comes first, `given` is left out. */
function chooseLabel({ title, given, suggested, done }) {
  const dialog = byId("chooser");
  const list = el("ul", { id: "choices", role: "listbox", "aria-label": "Classes" });
  let matches = [];
  let active = 0;
  const search = el("input", {
    type: "search",
    role: "combobox",
    "aria-controls": "choices",
    "aria-expanded": "true",
    "aria-autocomplete": "list",
    "aria-label": "Search classes",
    placeholder: "Search classes",
    autocomplete: "off",
    spellcheck: "false",
  });
  const choose = (label) => {
    dialog.close();
    done(label);
  };
  const point = (next) => {
    active = Math.max(0, Math.min(matches.length - 1, next));
    [...list.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === active)));
    const item = list.children[active];
    if (item) search.setAttribute("aria-activedescendant", item.id);
    else search.removeAttribute("aria-activedescendant");
    item?.scrollIntoView({ block: "nearest" });
  };
  const paint = () => {
    const wanted = search.value.trim().toLowerCase();
    const labels = CLASSES.map((_, label) => label).filter((label) => label !== given && CLASSES[label].toLowerCase().includes(wanted));
    const rank = (label) => (label === suggested ? 0 : CLASSES[label].toLowerCase().startsWith(wanted) ? 1 : 2);
    labels.sort((a, b) => rank(a) - rank(b) || a - b);
    matches = labels.slice(0, MATCHES);
    list.replaceChildren(
      ...matches.map((label, place) =>
        el("li", { id: `choice-${place}`, role: "option", onclick: () => choose(label) }, name(CLASSES[label]), label === suggested ? el("small", {}, "suggested") : null),
      ),
    );
    point(0);
  };
  search.addEventListener("input", paint);
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") point(active + 1);
    else if (event.key === "ArrowUp") point(active - 1);
    else if (event.key === "Enter" && matches.length) choose(matches[active]);
    else return;
    event.preventDefault();
  });
  dialog.replaceChildren(
    el("h2", { id: "chooser-title" }, title),
    search,
    list,
    el("div", { class: "actions" }, button("Cancel", () => dialog.close(), { class: "quiet" })),
  );
  paint();
  dialog.showModal();
  search.focus();
}

function showDetail({ title, preview, facts, choices, trajectory, onkey }) {
  const dialog = byId("detail");
  dialog.onkeydown = (event) => onkey(event, dialog);
  dialog.replaceChildren(
    el("div", { class: "dialog-head" }, el("h2", { id: "detail-title" }, title), button("Close", () => dialog.close(), { class: "quiet" })),
    el(
      "div",
      { class: "detail" },
      preview,
      el("div", {}, el("dl", { class: "facts-list" }, ...facts.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)])), ...choices.filter(Boolean)),
    ),
    trajectory ?? "",
  );
  if (!dialog.open) dialog.showModal();
}
