"""Review: the panel in which a reader reads scans in JupyterLab, blinded to the report and to the other readers.

It is given scan ids and a way to load a scan, and nothing else: what it does not have it cannot show. Every click is
a line of the log (`readings`) before anything else happens, so a kernel that dies loses nothing.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets  # type: ignore[import-untyped]

from bonescan_utils.labelling.readings import (
    READINGS,
    REGIONS,
    ReadingLog,
    append_event,
    check_reader,
    current_decisions,
    current_readings,
    read_log,
)  # fmt: skip
from bonescan_utils.labelling.reports import LabelError
from bonescan_utils.pictures import darkest
from bonescan_utils.scan import VIEWS, Scan, ScanError
from bonescan_utils.viewer.pixels import Window, encoded, grey
from bonescan_utils.viewer.widget import HEIGHT_PX, view_caption

KEYS = {"a": "abnormal", "n": "normal", "u": "unsure"}
UNDO_KEY = "z"
STYLES = {"abnormal": "danger", "normal": "success", "unsure": "warning"}
_WIDE: dict[str, str] = {"width": "310px"}
_THIRD: dict[str, str] = {"width": "100.6px"}
_HALF: dict[str, str] = {"width": "153px"}


class ReviewPanel:
    """Scans to be read, one after the other, in an order of each reader's own.

    Show it by making it the last line of a cell. Keys work in the field *Keys*: a abnormal, n normal, u unsure, 1 to 8
    lesion regions, z undo. Without a reader (as under papermill) it is a note that says how to begin.

    Attributes:
        reader: Code name of the reader; '' for none.
        order: Ids of the scans in the order in which they are shown.
        at: Position in `order` of the scan shown; `len(order)` when all are read.
        panel: The widgets; None without a reader.

    Example:
        >>> ReviewPanel(sample, run.scan, log="review/readings.csv", reader="A")
    """

    def __init__(
        self, scan_ids: Sequence[str], load: Callable[[str], Scan], *, log: str | Path, reader: str,
        adjudicate: bool = False,
    ) -> None:  # fmt: skip
        """Takes the scans.

        Args:
            scan_ids: The scans to read.
            load: Takes an id, returns the scan.
            log: The log of readings; all readers may write to one.
            reader: Code name of the reader, no name of a person; '' for nobody.
            adjudicate: The readings settle disagreements (see `adjudication.adjudication_queue`).

        Raises:
            LabelError: The code name will not do, no scan is given, or the log is damaged.
        """
        if not len(scan_ids) and not adjudicate:
            raise LabelError("there is no scan to read: give at least one id")
        self.reader = check_reader(reader) if reader else ""
        self.order = shuffled(scan_ids, self.reader)
        self._load, self._log = load, Path(log)
        self._action, self._quiet = ("adjudicate" if adjudicate else "read"), False
        self._known = read_log(self._log) if self.reader else ReadingLog(read_log(self._log).events[:0])
        self.at = self._next_unread(-1)
        self.panel = self._build() if self.reader else None

    def _repr_mimebundle_(self, **options: Any) -> Any:
        if self.panel is not None:
            return self.panel._repr_mimebundle_(**options)
        return {"text/plain": repr(self), "text/markdown": f"*{self.note}*"}

    def __repr__(self) -> str:
        return f"ReviewPanel of {len(self.order)} scans"

    @property
    def note(self) -> str:
        """What stands in the place of the panel where nobody reads."""
        return (
            f"Image review: {len(self.order)} scans. To read them, open this notebook in JupyterLab, set `reader` to a"
            ' code name such as "A", and run the cell again; or use `bonescan review`.'
        )

    @property
    def shown(self) -> str:
        """Id of the scan that is shown; '' when all are read."""
        return self.order[self.at] if self.at < len(self.order) else ""

    # ---------------------------------------------------------------------------------------- what is said
    def read(self, reading: str) -> None:
        """Writes the reading of the scan shown, with the regions that are marked, and shows the next unread one."""
        if self.shown:
            regions = self.marked if reading != "normal" else ()
            self._write(self._action, reading=reading, regions=regions)
            self._go(self._next_unread(self.at))

    def mark(self, region: str) -> None:
        """Marks a lesion region of the scan shown, or takes the mark away."""
        if self.shown:
            now = set(self.marked) ^ {region}
            self._write("mark", regions=[name for name in REGIONS if name in now])
            self._refresh()

    def undo(self) -> None:
        """Takes back the reader's last click and shows its scan; nothing happens where there is none."""
        last = self._known.last_undoable(self.reader)
        if last is None or last["scan_id"] not in self.order:
            return
        append_event(
            self._log, reader=self.reader, scan_id=last["scan_id"], action="undo", undoes=last["event"]
        )  # fmt: skip
        self._known = read_log(self._log)
        self._go(self.order.index(last["scan_id"]))

    @property
    def marked(self) -> tuple[str, ...]:
        """The regions marked on the scan shown."""
        mine = self._known.active
        mine = mine[(mine["reader"] == self.reader) & (mine["scan_id"] == self.shown)]
        return tuple(name for name in mine["regions"].iloc[-1].split(";") if name) if len(mine) else ()

    @property
    def done(self) -> set[str]:
        """The scans of the panel that need no more reading by this reader."""
        if self._action == "adjudicate":
            return set(current_decisions(self._known)["scan_id"]) & set(self.order)
        readings = current_readings(self._known)
        return set(readings.loc[readings["reader"] == self.reader, "scan_id"]) & set(self.order)

    def _write(self, action: str, *, reading: str = "", regions: Sequence[str] = ()) -> None:
        append_event(
            self._log, reader=self.reader, scan_id=self.shown, action=action, reading=reading, regions=regions
        )  # fmt: skip
        self._known = read_log(self._log)

    def _next_unread(self, after: int) -> int:
        """Returns the position of the next scan to read after a position, then from the beginning; the end if none."""
        done, n = self.done, len(self.order)
        around = [(after + 1 + step) % n for step in range(n)]
        return next((place for place in around if self.order[place] not in done), n)

    # ------------------------------------------------------------------------------------------- the widgets
    def _build(self) -> widgets.Widget:
        """Makes the widgets and shows the first scan."""
        self.buttons = {name: self._button(name.capitalize(), self.read, name, STYLES[name]) for name in READINGS}
        self.regions = {name: self._button(name, self.mark, name, layout=_HALF) for name in REGIONS}
        self.back = widgets.Button(description="Undo", tooltip="Take back the last click", layout=_HALF)
        self.back.on_click(lambda _: self.undo())
        self.skip = widgets.Button(description="Later", tooltip="Show the next unread scan", layout=_HALF)
        self.skip.on_click(lambda _: self._go(self._next_unread(self.at)))
        self.keys = widgets.Text(
            placeholder="Keys: a n u, 1-8, z", layout=_WIDE, continuous_update=True, tooltip="Type here"
        )  # fmt: skip
        self.keys.observe(self._on_key, "value")
        self.black = widgets.FloatSlider(value=1, min=0.1, max=3, step=0.05, description="Black at", layout=_WIDE)
        self.black.observe(lambda _: self._draw(), "value")
        self.heading, self.progress = widgets.HTML(), widgets.IntProgress(max=max(1, len(self.order)), layout=_WIDE)
        self.pictures = {view: widgets.Image(format="png") for view in VIEWS}
        self.films = {
            view: widgets.VBox([widgets.HTML(view_caption(view)), picture]) for view, picture in self.pictures.items()
        }
        self._go(self.at)
        names = list(self.regions.values())
        rows = [widgets.HBox(names[place : place + 2]) for place in range(0, len(names), 2)]
        choices = widgets.HBox(list(self.buttons.values()))
        title = widgets.HTML("<b>Lesion regions</b> (first), then the reading")
        controls = [self.heading, self.progress, title, *rows, choices, widgets.HBox([self.back, self.skip])]
        left = widgets.VBox([*controls, self.keys, self.black])
        right = widgets.HBox(list(self.films.values()), layout={"margin": "0 0 0 16px"})
        return widgets.HBox([left, right], layout={"flex_flow": "row wrap"})

    def _button(
        self, text: str, act: Callable[[str], None], name: str, style: str = "", layout: dict[str, str] | None = None
    ) -> widgets.Button:
        button = widgets.Button(description=text, button_style=style, layout=layout or _THIRD)
        button.on_click(lambda _: act(name))
        return button

    def _on_key(self, change: Any) -> None:
        """Acts on each key typed, and empties the field."""
        typed, self.keys.value = str(change["new"]).strip().lower(), ""
        for key in typed:
            if key in KEYS:
                self.read(KEYS[key])
            elif key == UNDO_KEY:
                self.undo()
            elif key.isdecimal() and 1 <= int(key) <= len(REGIONS):
                self.mark(REGIONS[int(key) - 1])

    def _go(self, place: int) -> None:
        """Shows the scan at a position of the order; past the last, that all are read."""
        self.at = place
        self._scan, self._fault = None, ""
        if self.shown:
            try:
                self._scan = self._load(self.shown)
            except (ScanError, OSError) as error:
                self._fault = f"It cannot be shown: {error}. Choose unsure, or Later."
        self._draw()
        self._refresh()

    def _refresh(self) -> None:
        """Shows where the reader is and what is marked."""
        done, marked = len(self.done), self.marked if self.shown else ()
        self.progress.value = done
        what = f"<b>{html.escape(self.shown)}</b>" if self.shown else "<b>All scans are read.</b> Thank you."
        torn = f" {self._known.torn} lines of the log were cut short and do not count." if self._known.torn else ""
        count = f"Reader {self.reader}: {done} of {len(self.order)} read.{torn} {html.escape(self._fault)}"
        self.heading.value = f"{what}<br>{count}"
        for number, (name, button) in enumerate(self.regions.items(), 1):
            button.description = f"{number} {name}"
            button.button_style = "info" if name in marked else ""
            button.disabled = not self.shown
        for button in (*self.buttons.values(), self.skip):
            button.disabled = not self.shown
        self.back.disabled = self._known.last_undoable(self.reader) is None

    def _draw(self) -> None:
        """Draws both views, one grey scale for both."""
        views = {view.name: view for view in self._scan.views} if self._scan else {}
        window = Window(0, darkest({name: view.counts for name, view in views.items()}) * self.black.value)
        for name, box in self.pictures.items():
            self.films[name].layout.display = None if name in views else "none"
            if name in views:
                rows, columns = views[name].counts.shape
                tall, wide = views[name].pixel_mm or (1.0, 1.0)
                box.layout.height, box.layout.width = (
                    f"{HEIGHT_PX}px",
                    f"{HEIGHT_PX * columns * wide / rows / tall:.0f}px",
                )
                box.value = encoded(grey(views[name].counts, window), compress_level=1)


def shuffled(scan_ids: Sequence[str], reader: str) -> list[str]:
    """Returns the ids in an order that depends on each id and the reader only, and tells nothing of the scans."""
    return sorted(scan_ids, key=lambda scan_id: hashlib.sha256(f"{reader}\0{scan_id}".encode()).digest())
