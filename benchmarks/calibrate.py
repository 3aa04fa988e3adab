"""Fits the correction of measured step times and writes src/armature/perf/calibration.json.

    python benchmarks/calibrate.py            # fits on every row and writes the file
    python benchmarks/calibrate.py --half     # prints the fit on half of the groups only, as the scorecard judges it

The coefficients that ship are fitted on all groups; their bands come from residuals of groups left out of the fit, so
they are as honest as the bands that the scorecard judges on the half it held out.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from accuracy.fit import fit, samples_of, split
from accuracy.predict import Engines
from accuracy.rows import read_rows
from accuracy.transfer import transfers

from armature.perf.silicon import SiliconEstimator

OUT = Path(__file__).parents[1] / "src" / "armature" / "perf" / "calibration.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--half", action="store_true", help="fit on the half that the scorecard fits on; write nothing"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps step times between runs")
    arguments = parser.parse_args()
    engines = Engines(SiliconEstimator(), arguments.cache)
    sample = samples_of(read_rows(), engines)
    if arguments.half:
        print(msgspec.json.format(msgspec.json.encode(fit(sample.take(split(sample.rows))))).decode())
        return
    left_out = transfers(engines.times)
    prefill, decode = (
        np.concatenate([getattr(t, of) for t in left_out if t.used]) for of in ("prefill", "decode")
    )
    fitted = msgspec.structs.replace(
        fit(sample),
        donor_prefill=_tenths(prefill),
        donor_decode=_tenths(decode),
        fitted={
            "measurements": len(sample),
            "groups": len(np.unique(sample.group)),
            "library": version("aiconfigurator-core"),
        },
    )
    OUT.write_bytes(msgspec.json.format(msgspec.json.encode(fitted), indent=1) + b"\n")
    print(OUT.read_text(encoding="utf-8"))


def _tenths(log: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(log, (0.1, 0.9))
    return round(float(low), 3), round(float(high), 3)


if __name__ == "__main__":
    main()
