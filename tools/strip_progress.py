#!/usr/bin/env python3
"""Take progress bars and warnings, that is everything written to stderr, out of stored outputs.

python tools/strip_progress.py nbs/index.ipynb ...
"""

import json
import sys
from pathlib import Path


def main():
    for name in sys.argv[1:]:
        file = Path(name)
        notebook = json.loads(file.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"]
        file.write_text(
            json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
