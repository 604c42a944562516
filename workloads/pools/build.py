"""Fit the pools of the package anew: `python -m workloads.pools.build SERVEGEN_DATA [OUT]`.

SERVEGEN_DATA is the folder `data` of https://github.com/alibaba/ServeGen.
"""

import sys
from pathlib import Path

from workloads.fit import fit_source
from workloads.pools.file import SUFFIX

FOLDERS = ("language/m-large", "language/m-small", "reason/deepseek-r1", "multimodal/mm-image")
ORIGIN = (
    "fitted to ServeGen's client data by Alibaba, https://github.com/alibaba/ServeGen, arXiv 2505.09999, Apache-2.0"
)


def build(data: Path, out: Path = Path(__file__).parent) -> None:
    """Write one file for each of FOLDERS."""
    for folder in FOLDERS:
        path = out / f"{Path(folder).name}{SUFFIX}"
        pool = fit_source(data / folder, out=path, origin=ORIGIN)
        print(f"{path}: {len(pool.clients)} clients, {len(pool.clients[0].lengths)} lengths, {path.stat().st_size} B")


if __name__ == "__main__":
    build(*(Path(argument) for argument in sys.argv[1:3]))
