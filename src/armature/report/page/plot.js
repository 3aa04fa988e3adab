/* The plot: tokens/s/user across, throughput up. Draws what it is told and reports what is pointed at; decides nothing.
 *
 * Aggregated points are circles, disaggregated ones diamonds; hollow ones miss the targets. The points are one stop of
 * the Tab key: arrows walk along the x axis, Enter or Space selects. */

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** At most `most` round numbers from 0 to the first at or above `top`. */
function ticks(top, most) {
  if (!(top > 0)) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(top / most));
  const step = [1, 2, 2.5, 5, 10, 20].map((n) => n * power).find((n) => top / n <= most);
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, i) => i * step);
}

const tickText = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** box: the element to draw in. points, front: the plan's. on: {select(i), point(i or null)}. Returns {show(state)}. */
function makePlot(box, points, front, on) {
  const reach = 26; // px: how near a pointer must be
  const walk = points.map((_, i) => i).sort((a, b) => points[a].x - points[b].x || points[a].y - points[b].y);
  let place, marks, over, under, area, width;
  let state = null;
  let current = walk[0]; // what the Tab key reaches

  function build() {
    const focused = marks?.indexOf(document.activeElement) ?? -1;
    width = Math.max(box.clientWidth, 240);
    const height = Math.round(Math.min(Math.max(width * 0.62, 270), 460));
    const [xs, ys] = [ticks(Math.max(...points.map((p) => p.x)), width < 480 ? 4 : 8), ticks(Math.max(...points.map((p) => p.y)), 6)];
    const left = 14 + 7 * Math.max(...ys.map((y) => tickText.format(y).length));
    area = { left, right: width - 14, top: 38, bottom: height - 42 };
    const x = (value) => area.left + (value / xs.at(-1)) * (area.right - area.left);
    const y = (value) => area.bottom - (value / ys.at(-1)) * (area.bottom - area.top);
    place = points.map((point) => [x(point.x), y(point.y)]);
    place.x = x;
    const lines = [];
    for (const value of ys) {
      lines.push(svg("path", { class: value ? "grid" : "axis", d: `M${area.left} ${y(value)}H${area.right}` }));
      lines.push(svg("text", { x: area.left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText.format(value)));
    }
    for (const value of xs) {
      lines.push(svg("path", { class: value ? "grid" : "axis", d: `M${x(value)} ${area.top}V${area.bottom}` }));
      lines.push(svg("text", { x: x(value), y: area.bottom + 17, "text-anchor": "middle" }, tickText.format(value)));
    }
    lines.push(svg("text", { x: 2, y: 12 }, box.dataset.y));
    lines.push(svg("text", { x: area.right, y: height - 6, "text-anchor": "end" }, "tokens/s/user"));
    const path = front.map((i) => place[i].map((n) => n.toFixed(1)).join(" ")).join("L");
    under = svg("g");
    over = svg("g", { "pointer-events": "none" });
    marks = points.map((point, i) => mark(point, i));
    const picture = svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Candidates: tokens/s/user across, ${box.dataset.y} up` },
      svg("g", { "aria-hidden": "true" }, ...lines, ...(front.length > 1 ? [svg("path", { class: "front", d: `M${path}` })] : [])),
      under,
      svg("g", { role: "listbox", "aria-label": "Candidates by tokens/s/user" }, ...walk.map((i) => marks[i])),
      over,
    );
    picture.addEventListener("pointermove", (event) => event.pointerType !== "touch" && on.point(nearest(event)));
    picture.addEventListener("pointerleave", () => on.point(null));
    picture.addEventListener("click", (event) => {
      const i = nearest(event);
      if (i !== null) on.select(i);
      if (event.pointerType === "touch") on.point(i); // a finger does not hover
    });
    box.querySelector("svg")?.remove();
    box.prepend(picture);
    if (state) show(state);
    if (focused >= 0) marks[focused].focus();
  }

  function mark(point, i) {
    const [x, y] = place[i];
    const r = width < 480 ? 4.5 : 5.5;
    const shape =
      point.mode === "agg"
        ? svg("circle", { cx: x, cy: y, r: r })
        : svg("path", { d: `M${x} ${y - r * 1.3}L${x + r * 1.3} ${y}L${x} ${y + r * 1.3}L${x - r * 1.3} ${y}Z` });
    const element = svg("g", { class: "mark", role: "option", tabindex: -1, "data-i": i }, shape);
    element.addEventListener("focus", () => {
      current = i;
      if (element.matches(":focus-visible")) on.point(i);
    });
    element.addEventListener("blur", () => on.point(null));
    element.addEventListener("keydown", (event) => {
      const at = walk.indexOf(i);
      const to = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, Home: 0, End: walk.length - 1 }[event.key];
      if (to !== undefined) {
        const next = walk[Math.min(Math.max(to, 0), walk.length - 1)];
        marks[i].setAttribute("tabindex", -1);
        marks[next].setAttribute("tabindex", 0);
        marks[next].focus();
      } else if (event.key === "Enter" || event.key === " ") {
        on.select(i);
      } else {
        return;
      }
      event.preventDefault();
    });
    return element;
  }

  function nearest(event) {
    const frame = box.querySelector("svg").getBoundingClientRect();
    const scale = width / frame.width;
    const [px, py] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
    let best = null;
    let least = reach;
    place.forEach(([x, y], i) => {
      const distance = Math.hypot(x - px, y - py);
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  }

  /** state: {judged: per point {state, why}, best, pick, selected, itl: target in ms or null, hovered: i or null}. */
  function show(next) {
    state = next;
    points.forEach((point, i) => {
      const judged = state.judged[i];
      marks[i].firstChild.setAttribute("class", `shape ${point.mode} ${judged.state === "missed" ? "missed" : "met"}`);
      marks[i].setAttribute("aria-selected", String(i === state.selected));
      marks[i].setAttribute("aria-label", [point.label, ...point.facts.slice(0, 5).map((f) => f.filter(Boolean).join(" ")), judged.why && `misses: ${judged.why}`].filter(Boolean).join(", "));
      marks[i].setAttribute("tabindex", i === state.selected ? 0 : -1);
    });
    current = state.selected;
    under.replaceChildren();
    over.replaceChildren();
    if (state.itl !== null) {
      const x = Math.min(place.x(1000 / state.itl), area.right);
      under.append(svg("rect", { class: "slow", x: area.left, y: area.top, width: Math.max(x - area.left, 0), height: area.bottom - area.top }));
      if (x < area.right) {
        under.append(svg("path", { class: "limit", d: `M${x} ${area.top}V${area.bottom}` }));
        const end = x > area.right - 90;
        under.append(svg("text", { x: end ? x - 5 : x + 5, y: area.top - 4, "text-anchor": end ? "end" : "start" }, `ITL ${tickText.format(state.itl)} ms`));
      }
    }
    for (const i of new Set([state.pick, state.best, state.selected])) over.append(marks[i].firstChild.cloneNode());
    if (state.pick !== state.best) ring("was", state.pick, 9.5, "plan's pick");
    ring("best", state.best, 9.5, state.pick === state.best ? "pick" : "picked now");
    const [x, y] = place[state.selected];
    under.append(svg("circle", { class: "chosen", cx: x, cy: y, r: 14 }));
    if (state.hovered !== null) {
      const [, low, high] = points[state.hovered].itl_ms;
      const height = place[state.hovered][1];
      const [from, to] = [place.x(1000 / high), Math.min(place.x(1000 / low), width - 2)];
      over.append(svg("path", { class: "whisker", d: `M${from} ${height - 5}v10M${from} ${height}H${to}M${to} ${height - 5}v10` }));
    }
  }

  function ring(name, i, r, text) {
    const [x, y] = place[i];
    const end = x > area.right - 90;
    over.append(svg("circle", { class: name, cx: x, cy: y, r: r }));
    over.append(svg("text", { class: "name", x: end ? x - 15 : x + 15, y: y - 8, "text-anchor": end ? "end" : "start" }, text));
  }

  build();
  new ResizeObserver(() => box.clientWidth && Math.abs(box.clientWidth - width) > 1 && build()).observe(box);
  /** How many other points lie where point i does. */
  const near = (i) => place.filter(([x, y], j) => j !== i && Math.hypot(x - place[i][0], y - place[i][1]) < 4).length;
  return { show, near, place: (i) => place[i].map((n) => (n * box.clientWidth) / width) };
}
