"""The report in headless Chromium: what is drawn is where it should be, and moves when told to."""

import shutil

import numpy as np
import pytest

from drivenmorph_jax.pipeline.quality import check_folding
from drivenmorph_jax.pipeline.report import ReportContent, write_report

pytestmark = pytest.mark.slow

SHAPE = (20, 24, 16)
BLOCK = (slice(14, 17), slice(18, 21), slice(11, 14))
"""Bright in the fixed image: to the right, anterior, superior."""
PLANES = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}
"""Axes of the grid: across the slices, to the right and upwards in a view."""


def content() -> ReportContent:
    rng = np.random.default_rng(0)
    fixed = np.zeros(SHAPE, np.float32)
    fixed[2:-2, 2:-2, 2:-2] = rng.uniform(0.1, 0.4, (16, 20, 12))
    warped = np.where(fixed > 0, 0.2, 0).astype(np.float32)
    fixed[BLOCK] = 1
    warped[3:6, 3:6, 3:6] = 1
    displacement = np.zeros((*SHAPE, 3), np.float32)
    displacement[..., 0] = 3
    jacobian = np.ones(SHAPE, np.float32)
    jacobian[BLOCK] = -1
    return ReportContent(
        "a <pair>", fixed, warped, warped, displacement, jacobian, 2 * displacement,
        np.array([2.0, 2.0, 3.0]), {"similarity": {"after": 0.5}}, [check_folding(0.0)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium: install it with the system's packages")
    with playwright.sync_playwright() as driver:
        # Tests may run as root, for whom Chromium's sandbox does not start.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, content())
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    """The page, drawn; at the end, it must have complained of nothing and asked for nothing."""
    page = browser.new_page(viewport={"width": 1366, "height": 900})
    page.set_default_timeout(120_000)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#readout tr")
    yield page
    assert said == []
    assert asked == [address]
    page.close()


def drawn(page):
    """Two frames later all that was asked for is on the canvases."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def colour(page, plane, voxel, *, flipped=False):
    """Of a view at a voxel's centre, in RGB."""
    _, across, up = PLANES[plane]
    x = (voxel[across] + 0.5) / SHAPE[across]
    y = 1 - (voxel[up] + 0.5) / SHAPE[up]
    share = [1 - x if flipped and across == 0 else x, y]
    return page.evaluate(
        """([n, [x, y]]) => {
          const canvas = document.querySelectorAll("#views canvas")[n];
          const at = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
          const copy = new OffscreenCanvas(1, 1).getContext("2d");
          copy.drawImage(canvas, ...at, 1, 1, 0, 0, 1, 1);
          return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        [list(PLANES).index(plane), share],
    )


def slide(page, plane, place):
    slider = page.locator("#views input").nth(list(PLANES).index(plane))
    slider.evaluate(
        "(e, place) => { e.value = place; e.dispatchEvent(new Event('input', {bubbles: true})); }",
        str(place),
    )
    drawn(page)


def readout(page):
    rows = page.locator("#readout tr").all()
    return {row.locator("th").inner_text(): row.locator("td").inner_text() for row in rows}


@pytest.mark.parametrize("plane", PLANES)
def test_slider_moves_the_slice_and_the_block_is_in_its_corner(page, plane):
    axis = PLANES[plane][0]
    assert page.locator("#views input").nth(list(PLANES).index(plane)).get_attribute("max") == str(
        SHAPE[axis] - 1
    )
    inside = [s.start + 1 for s in BLOCK]
    slide(page, plane, inside[axis])
    assert colour(page, plane, inside) == [255, 255, 255]
    assert f"slice {inside[axis] + 1} of {SHAPE[axis]}" in page.inner_text("#views")
    slide(page, plane, 5)
    assert max(colour(page, plane, inside)) < 130


@pytest.mark.parametrize("plane", PLANES)
def test_click_moves_the_crosshair(page, plane):
    axis, across, up = PLANES[plane]
    values = content().fixed
    for voxel in ([15, 19, 12], [4, 5, 6]):
        slide(page, plane, voxel[axis])
        canvas = page.locator("#views canvas").nth(list(PLANES).index(plane))
        box = canvas.bounding_box()
        canvas.click(
            position={
                "x": (voxel[across] + 0.5) / SHAPE[across] * box["width"],
                "y": (1 - (voxel[up] + 0.5) / SHAPE[up]) * box["height"],
            }
        )
        drawn(page)
        said = readout(page)
        assert said["voxel (R, A, S), from 1"] == ", ".join(str(at + 1) for at in voxel)
        assert float(said["fixed"]) == pytest.approx(float(values[tuple(voxel)]), abs=0.004)
        assert said["displacement, mm"] == "3 (R 3, A 0, S 0)"


def test_flicker_by_button_and_key(page):
    inside = [s.start + 1 for s in BLOCK]
    slide(page, "axial", inside[2])
    page.get_by_text("Flicker F").click()
    seen = set()
    for _ in range(12):
        page.wait_for_timeout(250)
        drawn(page)
        told = page.inner_text("#showing").split(" (")[0]
        bright = colour(page, "axial", inside)[0] == 255
        # On a slow machine the image may change between the two questions.
        if page.inner_text("#showing").split(" (")[0] == told:
            seen.add((told, bright))
    assert seen == {("Image: fixed", True), ("Image: warped", False)}
    page.keyboard.press("f")
    drawn(page)
    assert page.inner_text("#showing") == "Image: fixed."
    page.keyboard.press("x")
    drawn(page)
    assert page.inner_text("#showing") == "Image: warped."


def test_checkerboard_and_blend(page):
    inside = [s.start + 1 for s in BLOCK]
    slide(page, "axial", inside[2])
    page.keyboard.press("b")
    drawn(page)
    blended = colour(page, "axial", inside)[0]
    assert 140 < blended < 170
    page.keyboard.press("c")
    drawn(page)
    # Squares of 20 mm: the block is in one of the fixed image, the other is beside it.
    assert colour(page, "axial", inside)[0] > 230
    assert 48 < colour(page, "axial", [4, *inside[1:]])[0] < 56
    assert page.inner_text("#showing") == "Image: fixed and warped, squares of 20 mm."


def test_folds_are_magenta_and_the_bar_says_what_it_shows(page):
    inside = [s.start + 1 for s in BLOCK]
    slide(page, "axial", inside[2])
    assert page.locator("#bar").is_hidden()
    page.get_by_text("Jacobian", exact=True).click()
    drawn(page)
    red, green, blue = colour(page, "axial", inside)
    assert green < 100 < 150 < min(red, blue)
    assert "no unit, log scale" in page.inner_text("#bar")
    page.get_by_text("Displacement", exact=True).click()
    drawn(page)
    assert "mm" in page.inner_text("#bar p") and "≥ 3" in page.inner_text("#bar")


def test_lines_are_drawn_and_explained(page):
    before = page.locator("#views canvas").first.screenshot()
    for key, legend in (("g", "#grid-key"), ("a", "#force-key"), ("d", "#motion-key")):
        assert page.locator(legend).is_hidden()
        page.keyboard.press(key)
        drawn(page)
        assert page.locator(legend).is_visible()
        after = page.locator("#views canvas").first.screenshot()
        assert after != before
        before = after
    assert "1.00" in page.inner_text("#agreement tbody tr:last-child")


def test_radiological_shows_the_left_on_the_right(page):
    inside = [s.start + 1 for s in BLOCK]
    slide(page, "axial", inside[2])
    page.get_by_text("Radiological", exact=True).click()
    drawn(page)
    assert colour(page, "axial", inside, flipped=True) == [255, 255, 255]
    assert max(colour(page, "axial", inside)) < 130
    assert "patient's left (L) is on the right" in page.inner_text("#sides")


def test_light_and_dark(browser, address):
    backgrounds = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(address, timeout=120_000)
        backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    light, dark = (sum(map(int, text[4:-1].split(","))) for text in backgrounds)
    assert light > 600 and dark < 150
