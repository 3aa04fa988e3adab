/* Wires the page: what is selected, which targets are set, and everything that follows from these two. */
"use strict";
{
  const plan = JSON.parse(document.getElementById("plan").textContent);
  const { points, rule } = plan;
  const $ = (id) => document.getElementById(id);
  const asked = Object.fromEntries(plan.targets.filter((t) => t.asked !== null).map((t) => [t.name, t.asked]));
  const labels = Object.fromEntries(plan.targets.map((t) => [t.name, t.label]));
  const front = new Set(plan.front);
  const FEW = 12; // rows of the table before "show all"
  const number = { format: (value) => (value >= 99.95 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)))) };

  const now = { targets: { ...asked }, selected: plan.chosen, hovered: null, sort: "rank", down: false, show: "all", all: false };
  let judged, order, rank; // follow from now.targets

  function make(tag, text, name) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  }

  /** Whether there is anything a candidate could miss. */
  const judging = () => rule.loaded || Object.keys(now.targets).length > 0;
  const unchanged = () => plan.targets.every((t) => (now.targets[t.name] ?? null) === t.asked);

  function decide() {
    judged = points.map((point) => judge(point, now.targets, rule, labels));
    order = bestFirst(points, now.targets, rule);
    if (unchanged()) order = [plan.pick, ...order.filter((i) => i !== plan.pick)]; // the whole search's word stands
    rank = [];
    order.forEach((i, place) => (rank[i] = place + 1));
  }

  // The plot.

  const tip = make("div", undefined, "tip");
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  const plot = makePlot($("plot"), points, plan.front, { select, point: hover });
  $("plot").append(tip);

  function hover(i) {
    if (i === now.hovered) return;
    now.hovered = i;
    showPlot();
    tip.hidden = i === null;
    if (i === null) return;
    tip.replaceChildren(make("strong", points[i].label));
    for (const [label, text, band] of points[i].facts.slice(0, 7)) {
      const line = make("div");
      line.append(make("span", `${label} `), text, make("span", band && ` ${band}`));
      tip.append(line);
    }
    if (judging()) tip.append(make("div", says(i), `state-${stateName(i)}`));
    const others = plot.near(i);
    if (others) tip.append(make("span", `${others} more under this one: see the table`));
    const [x, y] = plot.place(i);
    const box = $("plot").getBoundingClientRect();
    tip.style.left = `${Math.max(0, Math.min(x + 16, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${y > tip.offsetHeight + 20 ? y - tip.offsetHeight - 16 : y + 18}px`;
  }

  function showPlot() {
    plot.show({ judged, best: order[0], pick: plan.pick, selected: now.selected, hovered: now.hovered, itl: now.targets.itl_ms ?? null });
  }

  const stateName = (i) => ({ met: "met", "at risk": "risk", missed: "missed" })[judged[i].state];
  const says = (i) => {
    if (judged[i].why) return `misses: ${judged[i].why}`;
    if (!Object.keys(now.targets).length) return "carries the load";
    return judged[i].state === "met" ? "meets the targets" : "meets the targets, at risk";
  };

  // The targets. A slider's 400 steps are even in the logarithm, over what the candidates span.

  const controls = plan.targets.map((target) => {
    const field = document.querySelector(`[data-name="${target.name}"]`);
    const [box, value, slider] = ["checkbox", "number", "range"].map((type) => field.querySelector(`[type="${type}"]`));
    const spans = points.map((point) => point[target.name][0]).concat(target.asked ?? []);
    const [low, high] = [Math.min(...spans) * 0.8, Math.max(...spans) * 1.25];
    const at = (step) => Number((low * (high / low) ** (step / 400)).toPrecision(3));
    const step = (ms) => Math.round((400 * Math.log(ms / low)) / Math.log(high / low));
    let last = target.asked ?? at(400);
    const set = (ms) => {
      if (ms === null) delete now.targets[target.name];
      else {
        for (const other of target.instead) delete now.targets[other];
        now.targets[target.name] = last = ms;
      }
      decide();
      select(order[0]);
    };
    box.addEventListener("change", () => set(box.checked ? last : null));
    slider.addEventListener("input", () => set(at(Number(slider.value))));
    value.addEventListener("input", () => value.valueAsNumber > 0 && set(value.valueAsNumber));
    return () => {
      const ms = now.targets[target.name] ?? null;
      box.checked = ms !== null;
      field.classList.toggle("off", ms === null);
      if (document.activeElement !== value || ms === null) value.value = ms === null ? "" : String(ms);
      slider.value = String(step(last));
      slider.setAttribute("aria-valuetext", ms === null ? "no target" : `${number.format(ms)} milliseconds`);
    };
  });
  $("reset").addEventListener("click", () => {
    now.targets = { ...asked };
    document.querySelector(".target input").focus(); // the button is about to be disabled
    decide();
    select(order[0]);
  });

  function showTargets() {
    controls.forEach((control) => control());
    const best = order[0];
    const meeting = judged.filter((j) => j.state !== "missed").length;
    const all = `${meeting} of ${points.length} candidates ${Object.keys(now.targets).length ? "meet the targets" : "carry the load"}`;
    const answer = [make("strong", points[best].label)];
    if (!judging()) answer.push("picked, with no target");
    else if (judged[best].state === "missed") answer.push(`closest of ${points.length}, none of which meets the targets: ${judged[best].why}`);
    else answer.push(`picked${judged[best].state === "at risk" ? ", at risk" : ""}; ${all}`);
    if (!unchanged()) answer.push(best === plan.pick ? ". The plan's pick stays." : ". The plan picked another.");
    else answer.push(".");
    $("answer").replaceChildren(answer[0], answer.slice(1).join(""));
    $("reset").disabled = unchanged();
    const stated = plan.targets.filter((t) => now.targets[t.name] !== undefined);
    $("ask").hidden = unchanged();
    $("ask").querySelector("code").textContent = `sla: {${stated.map((t) => `${t.key}: ${now.targets[t.name]}`).join(", ")}}`;
  }

  // The selected candidate.

  function select(i) {
    now.selected = i;
    showPlot();
    showTargets();
    showSelected();
    showTable();
  }

  function showSelected() {
    const point = points[now.selected];
    $("selected").textContent = `Selected: ${point.label}`;
    const tags = [];
    if (now.selected === plan.pick) tags.push(make("span", "the plan's pick"));
    if (now.selected === order[0] && !unchanged()) tags.push(make("span", "picked for these targets"));
    if (front.has(now.selected)) tags.push(make("span", "on the Pareto front"));
    if (judging()) tags.push(make("span", says(now.selected), `state-${stateName(now.selected)}`));
    tags.push(make("span", point.id));
    $("tags").replaceChildren(...tags);
    $("beside").textContent = point.beside && `Beside the plan's pick: ${point.beside}.`;
    $("margins").replaceChildren(...Object.entries(now.targets).map(([name, target]) => margin(labels[name], point[name], target)));
    $("facts").replaceChildren(
      ...point.facts.map(([label, text, band]) => {
        const pair = make("div");
        const value = make("dd", text);
        if (band) value.append(" ", make("small", band));
        pair.append(make("dt", label), value);
        return pair;
      }),
    );
    $("groups").replaceChildren(...[...point.groups, ...point.notes].map((text) => make("li", text)));
    showGraph();
  }

  /** A bar from 0 to 1.5 times the target or beyond the band: the estimate as a dot, its band, the target as a line. */
  function margin(label, [value, low, high], target) {
    const end = Math.max(1.5 * target, 1.05 * high);
    const at = (ms) => `${(100 * ms) / end}%`;
    const state = value > target * (1 + rule.tolerance) ? "missed" : high > target ? "risk" : "met";
    const row = make("div", undefined, "margin");
    row.append(
      make("span", label),
      svg(
        "svg",
        { "aria-hidden": "true" },
        svg("rect", { class: "track", width: "100%", height: 14, rx: 4 }),
        svg("rect", { class: "span", x: at(low), width: at(high - low), y: 3, height: 8, rx: 2 }),
        svg("line", { class: "goal", x1: at(target), x2: at(target), y1: 0, y2: 14 }),
        svg("circle", { class: `dot ${state}`, cx: at(value), cy: 7, r: 5 }),
      ),
      make("span", `${number.format(value)} of ${number.format(target)} ms, ${(value / target).toFixed(2)}×`, "says"),
    );
    return row;
  }

  // The graph.

  const yamlOf = (i) => plan.yaml[i]?.map((line) => plan.lines[line]).join("\n");

  function showGraph() {
    const text = yamlOf(now.selected);
    $("yaml").textContent = text ?? `# No graph: ${plan.refused[now.selected] ?? "none was built."}`;
    $("yaml").scrollTop = 0;
    $("copy").disabled = text === undefined;
    $("copied").textContent = "";
    const id = points[now.selected].id;
    const command = now.selected === plan.pick ? "" : ` (also: armature plan FILE --candidate ${id})`;
    $("use").textContent = text === undefined ? `armature plan FILE --candidate ${id} builds it, or says why it cannot.` : `Save it as dgd.yaml${command}, then: armature validate dgd.yaml, armature up dgd.yaml, or kubectl apply -f dgd.yaml.`;
  }

  $("copy").addEventListener("click", async () => {
    const done = (await writeClipboard(yamlOf(now.selected))) || selectAndCopy($("yaml"));
    $("copied").textContent = done ? "Copied." : "Select the text and copy it: this browser does not let a page do that.";
  });

  async function writeClipboard(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false; // not a secure context, or refused
    }
  }

  function selectAndCopy(element) {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }

  // The table.

  const rows = [...document.querySelectorAll("#table tbody tr")];
  for (const row of rows) {
    const i = Number(row.dataset.i);
    const name = row.querySelector("th span");
    const button = make("button", name.textContent);
    button.type = "button";
    name.replaceWith(button);
    row.addEventListener("click", () => select(i));
  }
  for (const head of document.querySelectorAll("#table thead th")) {
    const button = make("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => {
      const { key } = head.dataset;
      const large = ["per_gpu", "x", "rate", "concurrency"].includes(key); // first the largest
      now.down = now.sort === key ? !now.down : large;
      now.sort = key;
      showTable();
    });
    head.replaceChildren(button);
  }
  for (const input of document.querySelectorAll('[name="show"]')) {
    input.addEventListener("change", () => {
      now.show = input.value;
      showTable();
    });
  }
  $("more").addEventListener("click", () => {
    now.all = !now.all;
    showTable();
  });

  function sortValue(i) {
    if (now.sort === "rank") return rank[i];
    if (now.sort === "ratio") return worstRatio(points[i], now.targets);
    const value = points[i][now.sort];
    return Array.isArray(value) ? value[0] : (value ?? Infinity);
  }

  function showTable() {
    const sign = now.down ? -1 : 1;
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b || 0);
    const kept = points
      .map((_, i) => i)
      .filter((i) => now.show === "all" || (now.show === "front" ? front.has(i) : judged[i].state !== "missed"))
      .sort((a, b) => sign * compare(sortValue(a), sortValue(b)) || rank[a] - rank[b]);
    const shown = new Set(now.all ? kept : kept.slice(0, FEW));
    if (kept.includes(now.selected)) shown.add(now.selected);
    for (const head of document.querySelectorAll("#table thead th")) {
      if (head.dataset.key === now.sort) head.setAttribute("aria-sort", now.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    rows.forEach((row, i) => {
      row.hidden = !shown.has(i);
      row.classList.toggle("best", i === order[0]);
      if (i === now.selected) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      row.querySelector(".rank").textContent = rank[i];
      const verdict = row.querySelector(".verdict");
      verdict.className = `text verdict state-${stateName(i)}`;
      verdict.textContent = judging() ? judged[i].state : "";
      if (judged[i].why) verdict.append(" ", make("small", judged[i].why));
    });
    document.querySelector("#table tbody").append(...kept.map((i) => rows[i]), ...rows.filter((_, i) => !kept.includes(i)));
    $("more").hidden = kept.length <= FEW;
    $("more").textContent = now.all ? "Show fewer" : `Show all ${kept.length}`;
  }

  document.documentElement.classList.add("js");
  decide();
  select(now.selected);
}
