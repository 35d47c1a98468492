# One hash for everything that an instruction set's kernels compute: src/selftest.h.

def selftest(str target, int threads=3, long long flip_at=-1, int flip_bit=0):
    """Hash the results of a target's kernels.

    Parameters
    ----------
    target : str
        "base", "avx2", "avx512"; ValueError if this CPU does not run it.
    threads : int
        For everything but the training sections, which have their own.
    flip_at, flip_bit : int
        Which result has which of its bits flipped before it enters the hash; -1: none.

    Returns
    -------
    dict
        hash, fma (whether the target has it), sections {name: hash}, results {name: how many}, shared_by (the most
        threads that were seen to share a product).
    """
    cdef cbp_selftest_report report
    cdef cbp_status status
    cdef const cbp_kernels *kernels
    cdef bytes name = target.encode()
    cdef const char *c_name = name
    kernels = cbp_table(c_name, CBP_F32) if name else NULL
    if kernels == NULL:
        raise ValueError(f"selftest: no target {target!r}; this CPU runs {', '.join(runnable_targets())}")
    with nogil:
        status = cbp_selftest(c_name, threads, flip_at, flip_bit, &report)
    if status != CBP_OK:
        raise MemoryError("selftest: memory ran out")
    sections, results = {}, {}
    for dtype in range(2):
        for i in range(CBP_SELFTEST_SECTIONS):
            section = f"{cbp_selftest_names[i].decode()}/float{64 if dtype else 32}"
            sections[section] = report.section[dtype][i]
            results[section] = report.results[dtype][i]
    return {"hash": report.total, "fma": bool(kernels.fma), "sections": sections, "results": results,
            "shared_by": report.shared_by}
