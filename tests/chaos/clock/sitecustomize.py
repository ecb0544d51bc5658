"""A system clock that jumps by up to eleven days twice a second; Python imports this file at its start."""

import random
import time

real_time = time.time
JUMP_S = 1e6


def jumping_time() -> float:
    now_s = real_time()
    return now_s + random.Random(int(2 * now_s)).uniform(-JUMP_S, JUMP_S)


time.time = jumping_time
time.time_ns = lambda: int(1e9 * jumping_time())
