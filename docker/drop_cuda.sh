#!/bin/sh
# Take out of an environment what PyTorch's CUDA build opens on a GPU only: 2.2 of 6.5 GB.
# What its libraries are linked against (cuBLAS, cuFFT, NCCL, ...) must stay, or torch does not import.
#   sh docker/drop_cuda.sh /opt/venv
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
[ -d "$site/nvidia" ] || { echo "an environment must hold site-packages/nvidia, but $1 does not; name a virtual environment" >&2; exit 2; }
rm -rf "$site"/triton "$site"/triton-*.dist-info
find "$site/nvidia" -type f \( \
    -name 'libcudnn_*' -o -name 'libcusolverMg*' -o -name 'libnvblas*' -o -name 'libnvperf*' \
    -o -name 'libnvrtc.alt*' -o -name 'nvshmem_*' -o -name '*.a' -o -name '*.bc' -o -path '*/include/*' \) -delete
