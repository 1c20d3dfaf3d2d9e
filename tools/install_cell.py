#!/usr/bin/env python3
"""The cell that installs vlm_vla on Kaggle or Colab, the same in each notebook that runs there.

python tools/install_cell.py           put it into the notebooks, or bring it up to date
python tools/install_cell.py --check   exit 1 if it is missing or differs somewhere
"""

import hashlib
import json
import sys
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
NOTEBOOKS = [
    "00_config",
    "01_dataset",
    "02_model",
    "03_train",
    "04_eval",
    "05_agent",
    "tutorials/kaggle",
    "tutorials/own_data",
    "tutorials/extend",
    "tutorials/report",
    "zh/quickstart",
]
FIRST = "# Installs vlm_vla where it is missing (Kaggle, Colab); other packages stay as they are."
CELL = f"""#| hide
#| eval: false
{FIRST}
# Without Internet: attach a folder of wheels; see the page 'Without a network'.
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

if not find_spec("vlm_vla"):
    inputs = Path(os.environ.get("VLM_VLA_KAGGLE_ROOT", "/kaggle"), "input")
    own = sorted(inputs.rglob("vlm_vla-*.whl"))
    what = ["peft", "bitsandbytes", "tifffile", "git+https://github.com/vlm-vla/vlm_vla"]
    if own:
        names = {{w.name.split("-")[0] for w in own[-1].parent.glob("*.whl")}}
        what = ["--no-index", f"--find-links={{own[-1].parent}}", *names]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, *what], check=True)"""


def with_cell(cells):
    "The cells with the install cell behind the title."
    cells = [
        c for c in cells if "# Installs vlm_vla where it is missing" not in "".join(c["source"])
    ]
    title = next(
        (
            i
            for i, c in enumerate(cells)
            if c["cell_type"] == "markdown" and "".join(c["source"]).lstrip().startswith("# ")
        ),
        0,
    )
    new = dict(
        cell_type="code",
        execution_count=None,
        id=hashlib.sha1(CELL.encode()).hexdigest()[:8],
        metadata={},
        outputs=[],
        source=CELL.splitlines(keepends=True),
    )
    return cells[: title + 1] + [new] + cells[title + 1 :]


def main():
    stale = []
    for name in NOTEBOOKS:
        file = NBS / f"{name}.ipynb"
        if not file.is_file():
            continue
        notebook = json.loads(file.read_text(encoding="utf-8"))
        cells = with_cell(notebook["cells"])
        if [c["source"] for c in cells] == [c["source"] for c in notebook["cells"]]:
            continue
        stale.append(name)
        if "--check" not in sys.argv[1:]:
            notebook["cells"] = cells
            file.write_text(
                json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n",
                encoding="utf-8",
            )
    if stale:
        print(
            (
                "without the present install cell, run tools/install_cell.py: "
                if "--check" in sys.argv[1:]
                else "install cell written: "
            )
            + ", ".join(stale)
        )
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
