#!/bin/sh
# The emulated machine's first program: the host's root, read-only, and a folder for results.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
depmod
for module in virtio_pci 9pnet_virtio 9p videodev vhci-hcd uvcvideo; do modprobe $module; done
modprobe vivid n_devs=1 node_types=0x1
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 host /host
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mkdir -p /dev/shm/share /dev/shm/home
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /dev/shm/share
for folder in dev proc sys; do mount --move /$folder /host/$folder; done
exec switch_root /host /bin/bash /dev/shm/share/start.sh
