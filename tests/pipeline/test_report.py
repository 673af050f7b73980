import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from drivenmorph_jax.data.phantom import phantom_pair
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.pipeline import quality
from drivenmorph_jax.pipeline.report import ReportContent, write_report
from drivenmorph_jax.pipeline.report.agreement import agreement, agreements
from drivenmorph_jax.pipeline.report.page import render_report
from drivenmorph_jax.pipeline.report.volumes import pack_vectors

SHAPE = (24, 28, 20)
SPACING = np.array([2.0, 2.0, 2.5])
HOSTILE = "</title><script>alert(1)</script>"
VOID = {"meta", "link", "input", "br", "img"}


@pytest.fixture(scope="module")
def content() -> ReportContent:
    pair = phantom_pair(3, SHAPE)
    displacement = pair.true_displacement * SPACING.astype(np.float32)
    per_mm = [np.stack(np.gradient(displacement[..., c], *SPACING), -1) for c in range(3)]
    jacobian = np.linalg.det(np.eye(3) + np.stack(per_mm, -2))
    jacobian[10:12, 12, 9] = [0, -0.3]
    difference = (pair.fixed - pair.moving)[..., None]
    return ReportContent(
        title="moving to fixed",
        fixed=pair.fixed,
        moving_aligned=pair.moving,
        warped=0.5 * (pair.fixed + pair.moving),
        displacement_mm=displacement,
        jacobian=jacobian,
        force=difference * np.stack(np.gradient(pair.fixed, *SPACING), -1),
        spacing=SPACING,
        summary={
            "command": "drivenmorph register a & b",
            "similarity": {"of": "correlation", "before": 0.123456, "search": {"tissue": 0.7891}},
            "affine": [[1.5, 0, 0, 2.25], [0, 1, 0, 0]],
            "dice": {
                "after": None,
                "labels": {
                    "17": {"before": 0.41, "after": 0.62},
                    "53": {"before": 0.43, "after": 0.64},
                },
            },
            "quality": [],
        },
        checks=[
            quality.check_folding(0.0),
            quality.check_displacement(25.0),
            quality.check_inverse(None),
            quality.check_shear(0.7),
        ],
    )


class Page(HTMLParser):
    """Elements in order, each closed in its turn; the text of each kind of element, and of all."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        self.inside.setdefault(tag, []).append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.inside[self._open[-1]][-1] += data
        if not {"script", "style"} & set(self._open):
            self.text += data

    def data(self):
        return json.loads(self.inside["script"][0])


@pytest.fixture(scope="module")
def page(content) -> Page:
    return Page(render_report(content))


def unpack(packed):
    """Codes of a volume, by other means than the page's."""
    raw = zlib.decompress(base64.b64decode(packed["data"]))
    differences = np.frombuffer(raw, np.uint8).reshape(packed["shape"])
    return differences.cumsum(2, dtype=np.uint8).cumsum(1, dtype=np.uint8).astype(np.float64)


def test_html_is_whole(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
    assert labelled and set(labelled) <= set(ids)
    assert page.inside["title"] == ["moving to fixed"]
    assert dict(page.elements)["html"]["lang"] == "en"


def test_nothing_is_fetched(content, page):
    text = render_report(content)
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket", text)
    links = [a[name] for _, a in page.elements for name in ("src", "href") if name in a]
    assert links == ["data:,"]


def test_only_its_own_style_and_script_may_run(page):
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv"))
    for kind, text in (("style", page.inside["style"][0]), ("script", page.inside["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert not [a for _, a in page.elements if any(n == "style" or n[:2] == "on" for n in a)]


def test_what_the_user_named_is_inert(content):
    reason = quality.check_folding(0.0)
    check = quality.Check(HOSTILE, 1.0, HOSTILE, reason.limits, "warn", HOSTILE)
    summary = {HOSTILE: HOSTILE, "part": {HOSTILE: [HOSTILE], "rows": [{HOSTILE: HOSTILE}]}}
    page = Page(render_report(content._replace(title=HOSTILE, summary=summary, checks=[check])))
    assert len(page.inside["script"]) == 2
    assert page.inside["title"] == [HOSTILE]
    assert page.text.count(HOSTILE) == 2 + 4 + 6  # title, gate, summary


def test_every_figure_of_the_summary_is_there(page):
    for value in ("0.1235", "0.7891", "register a & b", "2.25", "0.41", "0.62", "53", "–"):
        assert value in page.text, value


def test_gates_the_worst_first_with_reasons(content, page):
    reasons = [check.reason for check in content.checks]
    places = [page.text.index(reasons[n]) for n in (3, 1, 0)]
    assert places == sorted(places)
    assert reasons[2] in page.text
    assert "1 fail, 2 warn, 1 pass" in page.text
    badges = [
        a["class"] for tag, a in page.elements if tag == "span" and "badge" in a.get("class", "")
    ]
    verdicts = ["fail", "fail", "warn", "warn", "pass"]  # the first is of them all
    assert badges == [f"badge {verdict}" for verdict in verdicts]


def test_images_come_back(content, page):
    volumes = page.data()["volumes"]
    for name, image in (
        ("fixed", content.fixed),
        ("moving", content.moving_aligned),
        ("warped", content.warped),
    ):
        codes, top = unpack(volumes[name]), volumes[name]["top"]
        np.testing.assert_array_equal(codes == 0, image == 0)
        shown = np.where(codes > 0, (codes - 1) / 254 * top, 0)
        np.testing.assert_allclose(shown, np.minimum(image, top), atol=0.51 * top / 254)
    assert volumes["moving"]["top"] == volumes["warped"]["top"]


def test_jacobian_comes_back_and_shows_folds(content, page):
    packed = page.data()["volumes"]["jacobian"]
    codes, doublings = unpack(packed), packed["top"]
    np.testing.assert_array_equal(codes == 0, content.jacobian <= 0)
    unfolded = codes > 0
    exponents = np.log2(content.jacobian[unfolded]).clip(-doublings, doublings)
    shown = (codes[unfolded] - 128) / 127 * doublings
    np.testing.assert_allclose(shown, exponents, atol=0.51 / 127 * doublings)


@pytest.mark.parametrize("name", ["displacement", "force"])
def test_vectors_come_back(content, page, name):
    vectors = content.displacement_mm if name == "displacement" else content.force
    for axis, packed in enumerate(page.data()["volumes"][name]):
        root, top = (unpack(packed) - 128) / 127, packed["top"]
        error = np.abs(np.sign(root) * root**2 * top - vectors[..., axis])
        bound = np.sqrt(np.abs(vectors[..., axis]) * top) / 127 + top / 254**2
        assert (error <= 1.01 * bound).all()


def test_large_grids_keep_every_second_vector():
    vectors = np.zeros((130, 128, 131, 3), np.float32)
    vectors[2, 4, 6] = [1, -2, 4]
    parts = pack_vectors(vectors)
    assert [(part["step"], part["shape"]) for part in parts] == [(2, [65, 64, 66])] * 3
    assert [unpack(part)[1, 2, 3] for part in parts] == [192, 38, 255]


def test_agreement_knows_along_across_and_against():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(500, 2))
    across = one[:, ::-1] * [1, -1]
    assert agreement(one, 3 * one) == (1.0, 1.0)
    assert agreement(one, -one) == (-1.0, 1.0)
    assert agreement(one, across) == (0.0, 1.0)
    assert abs(agreement(one, rng.permutation(one))[0]) < 0.1
    assert agreement(one, 0 * one) == (None, None)
    assert agreement(one[:5], one[:5]) == (None, None)


def test_a_slice_counts_what_its_arrows_show():
    """Vectors agree along axes 0 and 1, and are opposed along axis 2, which is the longest."""
    rng = np.random.default_rng(0)
    force = rng.normal(size=(8, 9, 10, 3)) * [1, 1, 5]
    brain = np.ones(force.shape[:3], bool)
    brain[..., 4] = False
    found = agreements(force, force * [1, 1, -1], brain)
    assert [len(across) for across in found["slices"]] == [8, 9, 10]
    assert found["brain"].cosine < -0.5
    assert found["slices"][2][3] == (1.0, 1.0)
    assert found["slices"][2][4] == (None, None)
    assert found["slices"][0][3].cosine < -0.3


@pytest.mark.parametrize("brain", [True, False])
def test_a_failed_registration_is_reported_too(content, brain):
    broken = np.full((*SHAPE, 3), np.nan, np.float32)
    broken[10:12] = np.inf
    failed = content._replace(
        fixed=content.fixed * brain, displacement_mm=broken, force=broken, jacobian=broken[..., 0]
    )
    data = Page(render_report(failed)).data()
    assert data["agreement"]["brain"] == [None, None]
    assert not (unpack(data["volumes"]["displacement"][0]) - 128).any()


def test_file_is_written_whole_or_not_at_all(content, tmp_path):
    write_report(tmp_path / "report.html", content)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(content)
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "none" / "report.html", content)
    with pytest.raises(ValueError, match="share a grid"):
        write_report(tmp_path / "other.html", content._replace(warped=content.warped[1:]))
