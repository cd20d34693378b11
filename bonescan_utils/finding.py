"""Finding: what a model says of a scan, in numbers and in words; the same in JSON, pictures and DICOM objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bonescan_utils.run_model import RunModel

NOTICE = "Research use only: not a medical device, not for diagnosis."


@dataclass(frozen=True)
class Finding:
    """What a model says of a scan.

    Attributes:
        model: The model, and what its run knows of it.
        model_sha256: Hash of the model's file.
        y_score: Score, 0-1.
        views: The views that it is of, anterior first.
        missing_views: The views that the layout shows and the scan does not have.
        raw_max: Highest value of the saliency map in logits; 0 for an empty map.
        warnings: What is doubtful of the scan.
    """

    model: RunModel
    model_sha256: str
    y_score: float
    views: tuple[str, ...]
    missing_views: tuple[str, ...]
    raw_max: float
    warnings: tuple[str, ...]

    @property
    def y_pred(self) -> int:
        """1 where the score is at or above the threshold, else 0."""
        return int(self.y_score >= self.model.threshold)

    @property
    def probability(self) -> float | None:
        """Calibrated probability, 0-1; None where the run has no recalibration."""
        return self.model.probability(self.y_score)

    def to_record(self) -> dict[str, Any]:
        """Return the finding in plain types, as it stands in the JSON of the scan."""
        model, fitted = self.model, self.model.recalibration
        calibration = (
            {"method": "platt", "fitted_on": "tuning", "slope": fitted.slope, "intercept": fitted.intercept}
            if fitted
            else {"reason": model.missing["recalibration"]}
        )
        point = {"partition": "test", **model.operating_point} if model.operating_point else {}
        return {
            "y_score": self.y_score, "probability": self.probability, "calibration": calibration,
            "threshold": model.threshold, "y_pred": self.y_pred,
            "operating_point": point or {"reason": model.missing["operating_point"]},
            "missing_views": list(self.missing_views), "warnings": list(self.warnings),
        }  # fmt: skip

    def score_line(self) -> str:
        """Return the score and the threshold as a line."""
        word = "at or above" if self.y_pred else "below"
        return f"Score {self.y_score:.3f}, {word} the threshold {self.model.threshold:.3f}"

    def probability_line(self) -> str:
        """Return the calibrated probability as a line, or that there is none."""
        if self.probability is None:
            return "No calibrated probability: the run has no recalibration"
        return f"Calibrated probability {self.probability:.3f} (at the study's share of metastases)"

    def operating_line(self) -> str:
        """Return sensitivity and specificity on the test scans as a line, or that they are not known."""
        parts = [
            f"{name} {row['estimate']:.2f} ({row['ci_low']:.2f}-{row['ci_high']:.2f})"
            for name, row in self.model.operating_point.items()
        ]
        return f"Test scans: {', '.join(parts)}" if parts else "Sensitivity and specificity not known"

    def model_line(self) -> str:
        """Return which model it is as a line, and, where the run did not make it, that it is foreign."""
        foreign = " (foreign: not made by that run, trusted by an override)" if self.model.override else ""
        return f"Model {self.model.arm} of run {self.model.run}{foreign}, sha256 {self.model_sha256[:16]}"

    def doubt_lines(self) -> list[str]:
        """Return a line for each missing view, for an empty saliency map, and for each warning."""
        lines = [f"The {view} view is missing" for view in self.missing_views]
        if self.raw_max == 0:
            lines.append("The saliency map is empty: no place speaks for metastasis")
        return [*lines, *(text[:1].upper() + text[1:] for text in self.warnings)]
