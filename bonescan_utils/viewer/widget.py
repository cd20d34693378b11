"""Widget: scans read in JupyterLab: both views, window, saliency map, truth; a still picture where nobody looks on.

Keyboard: ipywidgets has no shortcuts of its own (they would need another package), so each control is reached with Tab
and worked with its own keys: the left and right arrow keys move the sliders, the one called Scan among them, and Space
presses a button. In JupyterLab the up and down keys belong to the notebook.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets  # type: ignore[import-untyped]
import numpy as np
from IPython.core.getipython import get_ipython

from bonescan_utils.pictures import SHORT, SIDES, darkest
from bonescan_utils.scan import VIEWS
from bonescan_utils.viewer.montage import plot_viewed
from bonescan_utils.viewer.pixels import Window, encoded, grey, outlined, overlaid
from bonescan_utils.viewer.viewed import OUTCOMES, ViewedScan, largest_raw, methods_of
from bonescan_utils.wording import arm_text, format_number

HEIGHT_PX = 760
"""Height of a view on the screen."""
NO_METHOD = "none"
_WIDE: dict[str, str] = {"width": "350px"}
_HALF: dict[str, str] = {"width": "171px"}


def has_front_end() -> bool:
    """Whether somebody looks on: a kernel that may ask its user. papermill and nbconvert run cells without that."""
    kernel = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel is not None else {}
    return bool(parent.get("content", {}).get("allow_stdin", False))


class ScanViewer:
    """Scans of one or more arms, one at a time, with what the arm's score rests on.

    Show it by making it the last line of a cell.

    Attributes:
        scans: The scans, in the order of the list.
        interactive: Whether it shows widgets, or a still picture of its first scans.
        panel: The widgets; None if it shows a picture.
        at: Position in `scans` of the scan shown.

    Example:
        >>> viewer.ScanViewer(list(viewer.gallery_scans(run, predictions, thresholds, maps)))
    """

    def __init__(self, scans: Sequence[ViewedScan], *, interactive: bool | None = None) -> None:
        """Take the scans.

        Args:
            scans: The scans; one of several arms stands there once for each.
            interactive: Show widgets; if not given, where somebody looks on.

        Raises:
            ValueError: There is no scan.
        """
        if not scans:
            raise ValueError("there is no scan to view: give at least one ViewedScan")
        self.scans = list(scans)
        self.interactive = has_front_end() if interactive is None else interactive
        self.at = 0
        self._black, self._quiet = 0.0, False
        self._maps: tuple[tuple[int, str], dict[str, np.ndarray]] = ((-1, ""), {})
        self.panel = self._build() if self.interactive else None

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if self.panel is not None:
            return self.panel._repr_mimebundle_(**options)
        return {"text/plain": repr(self), "image/png": self._still()}

    def __repr__(self) -> str:
        return f"ScanViewer of {len(self.scans)} scans"

    @property
    def shown(self) -> ViewedScan:
        """The scan that is shown."""
        return self.scans[self.at]

    def step(self, by: int, outcome: str = "") -> None:
        """Show the next scan of the arm, or its next one with an outcome; after the last comes the first.

        Args:
            by: 1 for the next, -1 for the one before.
            outcome: One of `OUTCOMES`; '' for any. Nothing happens where the arm has no such scan.
        """
        mine = self._mine()
        start = mine.index(self.at)
        for place in range(1, len(mine) + 1):
            there = mine[(start + by * place) % len(mine)]
            if outcome in ("", self.scans[there].outcome):
                self.choice.value = there
                return

    # ------------------------------------------------------------------------------------------ building
    def _build(self) -> widgets.Widget:
        """Make the widgets, show the first scan, and only then listen to them."""
        arms = list(dict.fromkeys(scan.arm for scan in self.scans))
        self.arm = widgets.Dropdown(options=[(arm_text(arm), arm) for arm in arms], description="Arm", layout=_WIDE)
        self.choice = widgets.Select(rows=16, layout=_WIDE)
        self.place = widgets.IntSlider(value=1, min=1, max=1, description="Scan", layout=_WIDE)
        methods = [*methods_of(self.scans), NO_METHOD]
        self.method = widgets.Dropdown(options=methods, description="Saliency", layout=_WIDE)
        self.opacity = widgets.FloatSlider(value=0.75, max=1, step=0.05, description="Opacity", layout=_WIDE)
        self.window = widgets.IntRangeSlider(description="Window", min=0, layout=_WIDE)
        tip = "Outline the lesions of the truth"
        self.truth = widgets.ToggleButton(value=True, description="Truth", tooltip=tip, layout=_HALF)
        tip = "One colour scale for all scans of the arm: a faint map looks faint"
        self.common = widgets.ToggleButton(description="Common scale", tooltip=tip, layout=_HALF)
        edge = {"border": "1px solid #bbb"}
        self.pictures = {view: widgets.Image(format="png", layout=edge) for view in VIEWS}
        self.heading, self.facts = widgets.HTML(), widgets.HTML()
        self.buttons = {"Previous": self._button("Previous", -1), "Next": self._button("Next", 1)}
        self.buttons |= {outcome: self._button(f"Next {outcome.lower()}", 1, outcome) for outcome in OUTCOMES}
        self._list_scans()
        self.arm.observe(self._on_arm, "value")
        self.choice.observe(self._on_choice, "value")
        self.place.observe(self._on_place, "value")
        for control in (self.method, self.opacity, self.window, self.truth, self.common):
            control.observe(self._on_look, "value")
        return self._arranged()

    def _arranged(self) -> widgets.Widget:
        """Return the controls on the left and the views on the right."""
        turns = list(self.buttons.values())
        pairs = [widgets.HBox(pair) for pair in (turns[:2], turns[2:4], turns[4:], (self.truth, self.common))]
        controls = [
            self.arm,
            self.choice,
            self.place,
            *pairs[:3],
            self.window,
            self.method,
            self.opacity,
            pairs[3],
            self.facts,
        ]
        films = [widgets.VBox([widgets.HTML(view_caption(view)), self.pictures[view]]) for view in VIEWS]
        right = widgets.VBox([self.heading, widgets.HBox(films)], layout={"margin": "0 0 0 16px"})
        return widgets.HBox([widgets.VBox(controls), right], layout={"flex_flow": "row wrap"})

    def _button(self, text: str, by: int, outcome: str = "") -> widgets.Button:
        """Return a button that goes to another scan."""
        button = widgets.Button(description=text, layout=_HALF)
        button.on_click(lambda _: self.step(by, outcome))
        return button

    def _mine(self) -> list[int]:
        """Return the positions of the scans of the arm that is chosen."""
        return [place for place, scan in enumerate(self.scans) if scan.arm == self.arm.value]

    def _list_scans(self) -> None:
        """List the scans of the arm, and show the scan that was shown before, if the arm has it."""
        mine, wanted = self._mine(), self.shown.scan_id
        with self._not_listening():
            self.choice.options = [(_line(self.scans[place]), place) for place in mine]
            self.choice.value = next((place for place in mine if self.scans[place].scan_id == wanted), mine[0])
            self.place.max = len(mine)
        for outcome in OUTCOMES:
            self.buttons[outcome].disabled = all(self.scans[place].outcome != outcome for place in mine)
        self._show(self.choice.value)

    # --------------------------------------------------------------------------------------- what happens
    def _on_arm(self, _: Any) -> None:
        self._list_scans()

    def _on_choice(self, change: Any) -> None:
        if not self._quiet:
            self._show(change["new"])

    def _on_place(self, change: Any) -> None:
        if not self._quiet:
            self.choice.value = self._mine()[change["new"] - 1]

    def _on_look(self, _: Any) -> None:
        if not self._quiet:
            self._draw()

    @contextmanager
    def _not_listening(self) -> Iterator[None]:
        """Let a block change controls without each change being acted on."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _show(self, place: int) -> None:
        """Show another scan; its window is that of the last one, in shares of what is drawn black by default."""
        shares = [level / self._black for level in self.window.value] if self._black else [0.0, 1.0]
        self.at, scan = place, self.scans[place]
        self._black = darkest(scan.counts)
        top = max(2, *(int(counts.max()) for counts in scan.counts.values()))
        white = min(round(shares[0] * self._black), top - 1)
        with self._not_listening():
            self.place.value = self._mine().index(place) + 1
        with self._not_listening(), self.window.hold_trait_notifications():
            self.window.max, self.window.value = top, (white, min(max(round(shares[1] * self._black), white + 1), top))
        self.truth.disabled = scan.truth is None
        self._draw()

    def _draw(self) -> None:
        """Draw both views as the controls say."""
        scan, method = self.shown, str(self.method.value)
        raw = scan.maps[method].raw_max if method in scan.maps else 0.0
        top = largest_raw(self.scans, scan.arm, method) if self.common.value else raw
        maps = self._maps_of(method) if top > 0 else {}
        truth = (scan.truth or {}) if self.truth.value else {}
        for view, box in self.pictures.items():
            box.layout.display = None if view in scan.counts else "none"
            if view in scan.counts:
                picture = grey(scan.counts[view], Window(*self.window.value))
                if view in maps:
                    picture = overlaid(picture, maps[view] * (raw / top), opacity=self.opacity.value)
                self._put(box, outlined(picture, truth[view]) if view in truth else picture)
        self.heading.value = f"<b>{html.escape(scan.scan_id)}</b> &nbsp; {scan.outcome}"
        self.facts.value = _facts(scan, method, raw)

    def _maps_of(self, method: str) -> dict[str, np.ndarray]:
        """Return the maps of the scan shown; they are made once, not again for each move of a slider."""
        if self._maps[0] != (self.at, method):
            self._maps = ((self.at, method), self.shown.map_by_view(method))
        return self._maps[1]

    def _put(self, box: widgets.Image, picture: np.ndarray) -> None:
        """Show a picture, its pixels in their true shape."""
        rows, columns = picture.shape[:2]
        width = HEIGHT_PX * columns / (rows * self.shown.stretch)
        box.layout.height, box.layout.width = f"{HEIGHT_PX}px", f"{width:.0f}px"
        box.value = encoded(picture, compress_level=1)

    def _still(self) -> bytes:
        """Return the montage as a PNG file."""
        stream = io.BytesIO()
        plot_viewed(self.scans).savefig(stream, format="png")
        return stream.getvalue()


def _line(scan: ViewedScan) -> str:
    """Return a scan's line of the list."""
    return f"{scan.scan_id}  {format_number(scan.y_score)}  {scan.outcome}"


def view_caption(view: str) -> str:
    """Return the name of a view between the patient's sides."""
    left, right = SIDES[view]
    return f'<div style="text-align:center">{left} &nbsp;&nbsp; <b>{SHORT[view]}</b> &nbsp;&nbsp; {right}</div>'


def _facts(scan: ViewedScan, method: str, raw: float) -> str:
    """Return what is known of a scan as a small table."""
    label = "metastasis" if scan.y_true else "no metastasis"
    rows = {"Score": f"{format_number(scan.y_score)}, threshold {format_number(scan.threshold)}", "Label": label}
    if scan.primary:
        rows["Primary"] = scan.primary
    if method != NO_METHOD:
        rows["Map"] = f"maximum {format_number(raw)} logits" if method in scan.maps else "none of this scan"
    rows["Truth"] = "not known" if scan.truth is None else "known"
    cells = "".join(f"<tr><td>{name}&nbsp;</td><td>{html.escape(text)}</td></tr>" for name, text in rows.items())
    return f"<table>{cells}</table>"
