"""The kernels of the numba backend, file by file the twins of ``csrc/kac`` and ``csrc/native``.

Importing this package needs numba; :mod:`kacflow_core.backends.numba` does so on first use.

``compiler``    options, templates over the working type, compilation and forks
``arithmetic``  config.h: fused multiply-add, exact products, selections, bits; coefficients.h
``philox``      philox.h and uniform.h: counters to words to uniforms
``logarithm``   logarithm.h
``sampler``     sampler.h
``velocity``    velocity.h
``pair``        pair.h
``law``         law.h
``spline``      spline.h and level_spline.h
``path``        path.h and level_path.h
``events``      events.h and level_events.h
``rows``        kernels_level.h: blocks of elements with the constants of their rows; every kernel
``threads``     threads.h, and 16-bit data: a kernel over a range
"""
