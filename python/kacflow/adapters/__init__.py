"""Drop-in classes for other projects, under the names that their users already call.

=============================  =====================================================================
module                         stands for
=============================  =====================================================================
``adapters.telegraphers``      the samplers and velocities of the paper's own scripts
``adapters.adapting_noise``    the Kac sampler and velocity of *Adapting Noise to Data*
``adapters.torchcfm``          a ``ConditionalFlowMatcher`` of torchcfm
``adapters.flow_matching``     a ``ProbPath`` of flow_matching
``adapters.diffusers``         schedulers and an unconditional pipeline of diffusers
=============================  =====================================================================

Each module imports its library when it is imported itself; nothing is imported here.
"""

from __future__ import annotations
