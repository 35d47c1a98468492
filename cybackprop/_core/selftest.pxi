# One hash for everything that an instruction set's kernels compute: src/selftest.h.

def selftest(str target, int threads=3, long long flip_at=-1, int flip_bit=0):
    """Hash what a target's kernels compute; `flip_at` is the result that has a bit flipped before it enters the hash.

    Returns hash, whether the target has FMA, {section: (hash, number of results)}, and the most threads that were seen
    to share a product.  ValueError if this CPU does not run the target.
    """
    cdef cbp_selftest_report report
    cdef cbp_status status
    cdef bytes name = target.encode()
    cdef const char *c_name = name
    cdef int i
    with nogil:
        status = cbp_selftest(c_name, threads, flip_at, flip_bit, &report)
    if status == CBP_OUT_OF_RANGE:
        raise ValueError(f"selftest: no target {target!r}; this CPU runs {', '.join(runnable_targets())}")
    if status != CBP_OK:
        raise MemoryError("selftest: memory ran out")
    sections = {}
    for i in range(2 * CBP_SELFTEST_SECTIONS):
        section = cbp_selftest_names[i % CBP_SELFTEST_SECTIONS].decode() + ("/f32", "/f64")[i >= CBP_SELFTEST_SECTIONS]
        sections[section] = (report.section[i], report.results[i])
    return report.total, report.fma, sections, report.shared_by
