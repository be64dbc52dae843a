// Charts as inline SVG. They take numbers, and colours by class name from the style sheet.

function extent(rows) {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows)
    for (const value of row)
      if (value !== null) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
  return low <= high ? [low, high] : [0, 1];
}

function tickStep([low, high], count = 5) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

function linearTicks([low, high], count = 5) {
  const step = tickStep([low, high], count);
  const first = Math.ceil(low / step - 1e-6);
  const last = Math.floor(high / step + 1e-6);
  return Array.from({ length: last - first + 1 }, (_, place) => (first + place) * step);
}

/** Ticks in log σ: round values of σ, at least two of them. */
function sigmaTicks([low, high]) {
  const round = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100].map(Math.log);
  const inside = round.filter((tick) => tick >= low - 0.02 && tick <= high + 0.02);
  return inside.length > 2 ? inside : linearTicks([Math.exp(low), Math.exp(high)], 4).filter((tick) => tick > 0).map(Math.log);
}

const path = (points) => {
  let drawing = false;
  return points
    .map(([x, y]) => {
      if (y === null) {
        drawing = false;
        return "";
      }
      const command = drawing ? "L" : "M";
      drawing = true;
      return `${command}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join("");
};

/** A frame with axes over the epochs. `options`: title, note, epochs, domain, ticks, format, draw,
 *  readout(place) in words, labels [[y, text, class]] at the right end. */
function epochChart(options) {
  const { title, note, epochs, domain, ticks, format, draw, readout, labels = [] } = options;
  const words = el("p", { class: "readout", "aria-live": "polite" });
  const holder = el("div", {
    class: "chart",
    tabindex: "0",
    role: "group",
    "aria-label": `${title}. Left and right arrow keys read the epochs.`,
  });
  const figure = el("figure", {}, el("figcaption", {}, el("h3", {}, title), note ? el("p", {}, note) : null), holder, words);
  let place = epochs.length - 1;
  let scale = null;
  let cursor = null;

  const height = 300;
  function paint() {
    const width = Math.max(300, Math.min(720, holder.clientWidth || 560));
    const right = labels.length ? 104 : 14;
    const box = { left: 46, right: width - right, top: 12, bottom: height - 34 };
    const first = epochs[0];
    const last = epochs.at(-1);
    scale = {
      x: (epoch) => (last === first ? (box.left + box.right) / 2 : box.left + ((epoch - first) / (last - first)) * (box.right - box.left)),
      y: (value) => box.bottom - ((value - domain[0]) / (domain[1] - domain[0] || 1)) * (box.bottom - box.top),
      box,
    };
    const plot = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    for (const tick of ticks)
      plot.append(
        svg("line", { class: "grid", x1: box.left, x2: box.right, y1: scale.y(tick), y2: scale.y(tick) }),
        svg("text", { class: "tick", x: box.left - 8, y: scale.y(tick) + 4, "text-anchor": "end" }, format(tick)),
      );
    const steps = linearTicks([first, last], width < 420 ? 4 : 6).filter(Number.isInteger);
    for (const epoch of steps)
      plot.append(svg("text", { class: "tick", x: scale.x(epoch), y: box.bottom + 18, "text-anchor": "middle" }, String(epoch)));
    plot.append(svg("text", { class: "tick", x: box.right, y: height - 2, "text-anchor": "end" }, "epoch"));
    draw(plot, scale);
    let above = -Infinity;
    for (const [value, text, look] of [...labels].sort((a, b) => b[0] - a[0])) {
      above = Math.max(scale.y(value) + 4, above + 15);
      plot.append(svg("text", { class: `direct ${look}`, x: box.right + 8, y: above }, text));
    }
    cursor = svg("line", { class: "cursor", y1: box.top, y2: box.bottom, x1: 0, x2: 0 });
    plot.append(cursor);
    plot.addEventListener("pointermove", (event) => {
      const bounds = plot.getBoundingClientRect();
      const at = ((event.clientX - bounds.left) / bounds.width) * width;
      const distance = epochs.map((epoch) => Math.abs(scale.x(epoch) - at));
      point(distance.indexOf(Math.min(...distance)));
    });
    holder.replaceChildren(plot);
    point(place);
  }
  function point(next) {
    place = Math.max(0, Math.min(epochs.length - 1, next));
    const x = scale.x(epochs[place]);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    const text = `Epoch ${epochs[place]}: ${readout(place)}`;
    if (words.textContent !== text) words.textContent = text;
  }
  holder.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in moves)) return;
    event.preventDefault();
    point(place + moves[event.key]);
  });
  let seen = 0;
  new ResizeObserver(() => {
    if (holder.clientWidth !== seen) {
      seen = holder.clientWidth;
      paint();
    }
  }).observe(holder);
  return figure;
}

function lineChart({ title, note, epochs, series, format, domain }) {
  const looks = ["blue", "orange", "green", "grey"];
  const named = Object.entries(series).map(([title, values], place) => ({ title, values, look: looks[place] }));
  const found = domain ?? extent(named.map(({ values }) => values));
  const step = tickStep(found);
  const outer = [Math.floor(found[0] / step + 1e-6) * step, Math.ceil(found[1] / step - 1e-6) * step];
  return epochChart({
    title,
    note,
    epochs,
    domain: outer,
    ticks: linearTicks(outer),
    format: (value) => format(value, 0),
    labels: named.filter(({ values }) => values.at(-1) !== null).map(({ title, values, look }) => [values.at(-1), title, look]),
    readout: (place) => named.map(({ title, values }) => `${title.toLowerCase()} ${format(values[place], 1)}`).join(", "),
    draw: (plot, { x, y }) => {
      for (const { values, look } of named) {
        const points = values.map((value, place) => [x(epochs[place]), value === null ? null : y(value)]);
        plot.append(svg("path", { class: `line ${look}`, d: path(points) }));
        if (epochs.length === 1) plot.append(svg("circle", { class: `dot ${look}`, cx: points[0][0], cy: points[0][1], r: 4 }));
      }
    },
  });
}

/** The part of the bins that was ever used, with a little air. */
function usedBins({ edges, groups }) {
  const used = edges.slice(1).map((_, bin) => groups.some(({ histogram }) => histogram.some((row) => row[bin] > 0)));
  const first = Math.max(0, used.indexOf(true) - 1);
  const last = Math.min(used.length, used.lastIndexOf(true) + 2);
  return [first, Math.max(last, first + 1)];
}

function spreadHeatMap(spread) {
  const { epochs, edges } = spread;
  const [all] = spread.groups;
  const [first, last] = usedBins(spread);
  const domain = [edges[first], edges[last]];
  const most = Math.max(...all.histogram.map((row) => Math.max(...row)));
  return epochChart({
    title: "How σ spreads",
    note: `Histogram of ${plural(all.count, "instance")} after each epoch; the line is the median, dashes are 5 and 95 %.`,
    epochs,
    domain,
    ticks: sigmaTicks(domain),
    format: tickWords,
    readout: (place) => {
      const [low, , middle, , high] = all.quantiles[place].map(Math.exp).map(sigma);
      return `median σ ${middle}, from ${low} (5 %) to ${high} (95 %)`;
    },
    draw: (plot, { x, y, box }) => {
      const half = (place, side) => {
        const other = epochs[place + side];
        return other === undefined ? (side < 0 ? box.left : box.right) : (x(epochs[place]) + x(other)) / 2;
      };
      all.histogram.forEach((row, place) => {
        const [start, end] = epochs.length === 1 ? [box.left, box.right] : [half(place, -1), half(place, 1)];
        row.forEach((count, bin) => {
          if (!count) return;
          const top = y(edges[bin + 1]);
          plot.append(
            svg("rect", {
              class: "heat",
              "shape-rendering": "crispEdges",
              x: start,
              y: top,
              width: end - start,
              height: y(edges[bin]) - top,
              "fill-opacity": (0.06 + 0.94 * Math.sqrt(count / most)).toFixed(3),
            }),
          );
        });
      });
      for (const [quantile, look] of [[2, "ink"], [0, "ink faint"], [4, "ink faint"]])
        plot.append(svg("path", { class: `line ${look}`, d: path(all.quantiles.map((row, place) => [x(epochs[place]), y(row[quantile])])) }));
    },
  });
}

const GROUP_LOOKS = ["blue", "orange"];

function groupChart({ epochs, groups }) {
  const domain = extent(groups.map(({ quantiles }) => quantiles.flat()));
  return epochChart({
    title: "Clean and changed labels",
    note: groups.map(({ name, count }) => `${name}: ${whole.format(count)}`).join(", ") + ". Medians, with bands from 25 to 75 %.",
    epochs,
    domain,
    ticks: sigmaTicks(domain),
    format: tickWords,
    labels: groups.map(({ name, quantiles }, place) => [quantiles.at(-1)[2], name, GROUP_LOOKS[place]]),
    readout: (place) => groups.map(({ name, quantiles }) => `${name.toLowerCase()} median σ ${sigma(Math.exp(quantiles[place][2]))}`).join(", "),
    draw: (plot, { x, y }) => {
      groups.forEach(({ quantiles }, place) => {
        const along = (quantile) => quantiles.map((row, each) => [x(epochs[each]), y(row[quantile])]);
        const band = path([...along(1), ...along(3).reverse()]);
        plot.append(
          svg("path", { class: `band ${GROUP_LOOKS[place]}`, d: `${band}Z` }),
          svg("path", { class: `line ${GROUP_LOOKS[place]}`, d: path(along(2)) }),
        );
      });
    },
  });
}

const tickWords = (tick) => String(Number(Math.exp(tick).toPrecision(3)));

/** A row of cells, one an epoch: the darker, the higher. */
function strip(values, [low, high], label) {
  const cells = values.map((value, place) =>
    value === null
      ? null
      : svg("rect", {
          class: "hot",
          x: place,
          y: 0,
          width: 1,
          height: 1,
          "fill-opacity": (0.05 + (0.95 * (value - low)) / (high - low || 1)).toFixed(2),
        }),
  );
  return svg("svg", { class: "strip", viewBox: `0 0 ${values.length} 1`, preserveAspectRatio: "none", "shape-rendering": "crispEdges", role: "img", "aria-label": label }, ...cells);
}

function sparkline(values, [low, high]) {
  const [width, height] = [112, 30];
  const y = (value) => height - 3 - ((value - low) / (high - low || 1)) * (height - 6);
  const x = (place) => 3 + (place / Math.max(1, values.length - 1)) * (width - 6);
  const last = values.findLastIndex((value) => value !== null);
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `σ over the epochs, last ${sigma(last < 0 ? null : Math.exp(values[last]))}` },
    low < 0 && high > 0 ? svg("line", { class: "grid", x1: 0, x2: width, y1: y(0), y2: y(0) }) : null,
    svg("path", { class: "line blue", d: path(values.map((value, place) => [x(place), value === null ? null : y(value)])) }),
    last < 0 ? null : svg("circle", { class: "dot blue", cx: x(last), cy: y(values[last]), r: 2.5 }),
  );
}
