"""A program for mpiexec; one rank ends before MPI starts. RANK and STATUS are arguments."""

import os
import sys

import gpunn

if os.environ["PMI_RANK"] == sys.argv[1]:
    sys.exit(int(sys.argv[2]))
communicator = gpunn.distributed.communicator(timeout=1.0)
print(f"there are {communicator.size}")
