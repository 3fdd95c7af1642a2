"""Independent oracles of the core, for tests, benchmarks and scripts: they share nothing with it.

``philox``        Philox4x32-10 in plain Python, the uniforms of its words, and extreme counters.
``endpoint``      the endpoint map in 40 digits.
``velocity``      q(z), the conditional velocity and its derivatives in 40 digits and more.
``law``           moments, characteristic function, density and cdf of the law.
``distribution``  density and distribution function in 40 digits, by Bessel series.
``path``          whole paths in 40 digits, and samplers of paths: from turn to turn, and by the
                  closed-form step with switchable defects.
``spline``        splines, their derivatives and their inverse in 40 digits.
``events``        event-by-event simulation, and a sampler with switchable defects.
"""
