# Attaches a program to connect(2) of a control group that nobody is in, and removes both at the end of its input. The
# program says yes to everything; bpf(2) has no wrapper in the standard library, so it is called by its number.
import ctypes, os, struct, sys

CALLS = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, PROG_ATTACH = 5, 8
CGROUP_SOCK_ADDR, CGROUP_INET4_CONNECT = 18, 10

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    memory = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = libc.syscall(CALLS[os.uname().machine], command, memory, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


mounts = [line.split() for line in open("/proc/self/mounts")]
root = next(mount[1] for mount in mounts if mount[2] == "cgroup2")
group = os.path.join(root, f"bellhop-lab-{os.getpid()}")
os.mkdir(group)
try:
    # r0 = 1; exit
    code = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    load = struct.pack("<IIQQ", CGROUP_SOCK_ADDR, 2, ctypes.addressof(code), ctypes.addressof(licence))
    # log_level, log_size, log_buf, kern_version, prog_flags, prog_name, prog_ifindex, expected_attach_type
    load += struct.pack("<IIQII16sII", 0, 0, 0, 0, 0, b"lab_connect", 0, CGROUP_INET4_CONNECT)
    program = bpf(PROG_LOAD, load)
    directory = os.open(group, os.O_RDONLY)
    bpf(PROG_ATTACH, struct.pack("<IIII", directory, program, CGROUP_INET4_CONNECT, 0))
    print("attached", flush=True)
    sys.stdin.read()
except OSError as error:
    print(error, flush=True)
finally:
    os.rmdir(group)
