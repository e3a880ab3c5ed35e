"""Reads a Taobao UserBehavior file with polars and sorts it by user and time (ids stay as they are)."""

import resource
import sys
import time

import polars as pl

names = ["user", "item", "category", "behaviour", "time"]
start = time.perf_counter()
table = pl.read_csv(sys.argv[1], has_header=False, new_columns=names)
read = time.perf_counter() - start
table = table.sort(["user", "time"], maintain_order=True)
rows, seconds = table.height, time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(
    f"polars {pl.__version__:<5} {rows / seconds / 1e6:.2f} million rows per second "
    f"({rows / read / 1e6:.2f} without sorting), {peak / 1e6:.0f} MB peak, {peak / rows:.1f} bytes per row"
)
