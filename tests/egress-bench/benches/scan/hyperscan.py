"""Searches a file for literals with Hyperscan, as often as a line comes in, and answers each with the seconds of the search,
the bytes searched, the literals found, and the seconds that compiling the literals took.

    python3 hyperscan.py DATA LITERALS

`LITERALS` are windows of 16 bytes, one after the other. Each is reported at most once in a piece of the file, so that the
time is that of the search. The file is read a piece at a time, as a search does whose data does not fit into memory.
What is measured is processor time. A search that takes longer than `MOST_SECONDS` is ended: hence the bytes.
"""

import ctypes
import sys
import time

WINDOW = 16
PIECE = 1 << 20
MOST_SECONDS = 4.0
SINGLE_MATCH, SOM_NONE, BLOCK = 8, 0, 1


def checked(code, what):
    if code != 0:
        sys.exit(f"hyperscan: {what} ended with {code}")


def compiled(library, windows):
    count = len(windows)
    expressions = (ctypes.c_char_p * count)(*windows)
    flags = (ctypes.c_uint * count)(*[SINGLE_MATCH] * count)
    numbers = (ctypes.c_uint * count)(*range(count))
    lengths = (ctypes.c_size_t * count)(*[WINDOW] * count)
    database, error = ctypes.c_void_p(), ctypes.c_void_p()
    code = library.hs_compile_lit_multi(
        expressions, flags, numbers, lengths, count, BLOCK, None, ctypes.byref(database), ctypes.byref(error)
    )
    checked(code, "compiling")
    return database


def main():
    library = ctypes.CDLL("libhs.so.5")
    with open(sys.argv[2], "rb") as file:
        content = file.read()
    windows = sorted({content[at : at + WINDOW] for at in range(0, len(content), WINDOW)})
    begun = time.process_time()
    database, scratch = compiled(library, windows), ctypes.c_void_p()
    checked(library.hs_alloc_scratch(database, ctypes.byref(scratch)), "scratch")
    compiling = time.process_time() - begun
    found = 0

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_ulonglong, ctypes.c_ulonglong, ctypes.c_uint, ctypes.c_void_p)
    def matched(*_):
        nonlocal found
        found += 1
        return 0

    buffer = bytearray(WINDOW - 1 + PIECE)
    held = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    for _ in sys.stdin:
        found, searched, begun = 0, 0, time.process_time()
        with open(sys.argv[1], "rb", buffering=0) as file:
            # A literal may stand across the border of two pieces: the end of one is searched again with the next.
            while (read := file.readinto(memoryview(buffer)[WINDOW - 1 :])) and time.process_time() - begun < MOST_SECONDS:
                checked(library.hs_scan(database, held, WINDOW - 1 + read, 0, scratch, matched, None), "the search")
                buffer[: WINDOW - 1] = buffer[read : read + WINDOW - 1]
                searched += read
        print(time.process_time() - begun, searched, found, compiling, flush=True)


if __name__ == "__main__":
    main()
