/* Questions that tests/e2e/test_report_page.py asks of a shown page. */

/** Candidates that no other covers in the plot, so that a click can only mean them; the loneliest first. */
function alone() {
  const places = [...document.querySelectorAll(".mark")].map((mark) => {
    const box = mark.getBoundingClientRect();
    return { i: Number(mark.dataset.i), x: box.x + box.width / 2, y: box.y + box.height / 2 };
  });
  const away = (one) =>
    Math.min(...places.filter((other) => other !== one).map((other) => Math.hypot(one.x - other.x, one.y - other.y)));
  return places
    .map((one) => [one.i, away(one)])
    .filter(([, distance]) => distance > 3)
    .sort((a, b) => b[1] - a[1])
    .map(([i]) => i);
}

/** Visible elements with text of their own. */
function speaking() {
  return [...document.querySelectorAll("body *")].filter(
    (element) =>
      element.checkVisibility() &&
      !element.closest("script") &&
      [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()),
  );
}

/** Texts below 10.5 pixels, those of the plot left out: they scale with it. */
function tiny() {
  const small = (element) => parseFloat(getComputedStyle(element).fontSize) < 10.5;
  return speaking().filter((element) => !element.closest("svg") && small(element)).map((element) => element.outerHTML);
}

/** [contrast by WCAG 2, the element] of each text that is not disabled. */
function contrasts() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e && layers.at(-1)?.[3] !== 1; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reduceRight((under, [r, g, b, a]) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a)), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return speaking()
    .filter((element) => !element.closest(":disabled, .off"))
    .map((element) => {
      const picture = element.closest("svg");
      const style = getComputedStyle(element);
      const a = light(rgba(picture ? style.fill : style.color));
      const b = light(behind(picture ? picture.parentElement : element));
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 120)];
    });
}
