# SPDX-License-Identifier: Apache-2.0
# One Makefile, no configure step. Every directory is one component; a new file
# in it is picked up by itself. `make help` prints the lines that start with #:
#: make                      build everything into build/
#: make demo                 install what is missing, build, show two engines sharing a cache
#: make test [ALL=1]         install what is missing, build, run the tests (ALL: mutants and models in any case)
#: make bench [JSON=FILE]    measure against memcpy, Redis, LMDB and sockets (QUICK=1: a minute)
#: make quality [JSON=FILE]  what each method costs in answers (QUICK=1: a minute)
#: make race                 two-thread tests under ThreadSanitizer, and the fences natively
#: make simt                 compile the CUDA kernels; run them on this processor, under ASan
#: make gpu-check [JSON=FILE] pack build/gpu-check for a GPU machine; run it where there is one (RUN=OPTIONS)
#: make golden [DIR=FOLDER]  compare the kernels with golden cases
#: make install [PREFIX=/usr/local] [DESTDIR=]   (with DESTDIR it only builds and copies)
#: make uninstall             remove what install put there; the configuration stays
#: make fuzz [SECONDS=20]    feed each parser made-up bytes (clang)
#: make lint                 check the rules of the code
#: make clean                remove everything that was built
#:
#: V=1                       show commands
#: SAN=address,undefined     build under sanitizers, in build-san/
#: CUDA=no                   leave the .cu files out (the default without nvcc)
#: PORTABLE=1                the plain twins of what is written for x86, in build-portable/
#: DEPS=no                   install nothing

PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
CUDA    ?= $(if $(shell command -v nvcc),yes,no)
VERSION := 0.1.0
B       := build$(if $(FUZZ),-fuzz,$(if $(SAN),-san,$(if $(PORTABLE),-portable)))
SECONDS ?= 20

CPPFLAGS += $(if $(PORTABLE),-DCKV_PORTABLE) -D_GNU_SOURCE -I. -MMD -MP -DCKV_VERSION='"$(VERSION)"'
WARN := -Wall -Wextra -Werror -Wconversion -Wshadow -Wvla -Wundef \
	-Wstrict-prototypes -Wmissing-prototypes
override CFLAGS  += -std=c17 -ffp-contract=off -fPIC -pthread -fno-omit-frame-pointer $(if $(FUZZ),,$(WARN)) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
override LDFLAGS += -pthread $(if $(SAN),-fsanitize=$(SAN))

PKG_CLIENT := libcrypto libxxhash
PKG_DAEMON := liburing hwloc libcrypto libxxhash libsystemd inih jansson
PKG_CLI    := $(PKG_CLIENT) jansson
PKG_TEST   := check jansson libseccomp
libs = $(shell pkg-config --libs $(1))

objs     = $(patsubst %.c,$B/%.o,$(sort $(wildcard $(1))))
CLIENT  := $(call objs,client/*.c)
CLI     := $(call objs,client/cli/*.c)
ENGINE  := $(call objs,client/examples/engine/*.c)
CORE    := $(call objs,daemon/core/*.c)
SHELL_O := $(call objs,daemon/shell/*.c)
KEEPER  := $(call objs,daemon/keeper*.c)
# Who looks for a GPU has no code for one: it is in programs that never launch a kernel, too.
CUDA_C  := $(filter-out $(patsubst %,kernels/cuda_%.c,args device driver),$(wildcard kernels/cuda_*.c))
KERNELS := $(filter-out $(CUDA_C:%.c=$B/%.o),$(call objs,kernels/*.c))
LAUNCHERS := $(filter-out kernels/cuda_image.c kernels/cuda_launch.c,$(CUDA_C))
CUDA_O  := $(if $(filter yes,$(CUDA)),$(patsubst %.cu,build/%.cu.fatbin,$(sort $(wildcard kernels/*.cu))))
TESTLIB := $(call objs,tests/lib/*.c)
BENCH   := $(call objs,tests/bench/*.c)
QUALITY := $(call objs,tests/quality/*.c)
RACELIB := $(patsubst tests/race/%.c,build-tsan/%,$(sort $(wildcard tests/race/lib_*.c)))
RACE    := $(patsubst tests/race/%.c,build-tsan/%,$(sort $(wildcard tests/race/race_*.c))) $(RACELIB) \
	$B/tests/stress_fences
FUZZ_O  := $(filter-out $B/tests/fuzz/fuzz_%.o $(if $(FUZZ),%/replay_main.o),$(call objs,tests/fuzz/*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,$B/tests/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
CRASH   := $(patsubst tests/crash/%.c,$B/tests/%,$(sort $(wildcard tests/crash/crash_*.c)))
CRASHERS := $(call objs,$(filter-out tests/crash/crash_%,$(wildcard tests/crash/*.c)))
SIMT    := $(patsubst tests/simt/%.c,build-simt/%,$(sort $(wildcard tests/simt/test_simt_*.c)))
UNIT    := $(patsubst tests/unit/%.c,$B/tests/%,$(sort $(wildcard tests/unit/test_*.c)))

all: $B/ckvd $B/ckv $B/libckv.so $B/libckv.a $B/ckv-engine

$B/libckv.a: $(CLIENT) $(KERNELS)
$B/libckvd.a: $(CORE) $(SHELL_O) $(KEEPER)
$B/libckvk.a: $(KERNELS)
$B/libckvcli.a: $(filter-out %/main.o,$(CLI))
$B/libckvtest.a: $(TESTLIB)
$B/libckvquality.a: $(filter-out %/main.o,$(QUALITY))
$B/libckveng.a: $(filter-out %/main.o,$(ENGINE))
$B/%.a:
	$(call run,AR)rm -f $@ && $(AR) rcs $@ $^

$B/libckv.so: $(CLIENT) $B/libckvk.a client/libckv.map
	$(call run,LD)$(CC) $(LDFLAGS) -shared -Wl,-soname,libckv.so.0 \
		-Wl,--version-script=client/libckv.map -Wl,--no-undefined \
		-o $@ $(CLIENT) $B/libckvk.a $(call libs,$(PKG_CLIENT))

$B/ckvd: $B/daemon/main.o $B/libckvd.a $B/libckvk.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_DAEMON)) -lm

$B/ckv: $(CLI) $B/libckv.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_CLI)) -lm

$B/ckv-engine: $B/client/examples/engine/main.o $B/libckveng.a $B/libckv.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_CLI)) -lm

$B/tests/test_cli_%: $B/tests/unit/test_cli_%.o $B/libckvcli.a $B/libckvtest.a $B/libckv.a
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_TEST) $(PKG_CLI)) -lm

$B/ckv-quality: $B/tests/quality/main.o $B/libckvquality.a $B/libckveng.a $B/libckvd.a $B/libckvk.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,jansson libxxhash libcrypto) -lm

$B/tests/test_quality_%: $B/tests/unit/test_quality_%.o $B/libckvquality.a $B/libckveng.a $B/libckvd.a $B/libckvk.a
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_TEST) libxxhash libcrypto) -lm

$B/ckv-bench: $(BENCH) $B/tests/crash/raw.o $B/libckveng.a $B/libckv.a $B/libckvk.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ \
		$(call libs,$(PKG_CLI) lmdb hiredis) -lm

$B/tests/test_gpu_%: $B/tests/unit/test_gpu_%.o $B/tests/gpu/%.o $B/kernels/cuda_driver.o \
		$B/kernels/cuda_device.o
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_TEST))

$B/tests/test_%: $B/tests/unit/test_%.o $B/libckvtest.a $B/libckveng.a $B/libckvd.a $B/libckv.a $B/libckvk.a
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ \
		$(call libs,$(PKG_TEST) $(PKG_DAEMON)) -lm

# The launchers with a driver that runs nothing, so without device code.
$B/tests/test_kernels_cuda: $B/tests/unit/test_kernels_cuda.o $B/tests/fake_cuda.so \
		$B/libckvcuda.a $B/libckvk.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $(filter-out %.so,$^) $(call libs,$(PKG_TEST)) -lm

# Who looks for a GPU finds the emulated driver's, which is made below.
$(patsubst %,$B/tests/test_%,cli_doctor_gpu kernels_cuda_device): | \
	build-emu/$(if $(SAN),asan/)libckv-emu-cuda.so

$B/tests/fake_cuda.so: $B/tests/cuda/fake.o
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -shared -o $@ $^

# With FUZZ=1 libFuzzer makes the bytes; else they are those of the corpus.
$B/tests/fuzz_%: $B/tests/fuzz/fuzz_%.o $(FUZZ_O) $B/libckvtest.a $B/libckveng.a $B/libckvd.a $B/libckv.a $B/libckvk.a
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) $(if $(FUZZ),-fsanitize=fuzzer) -o $@ $^ \
		$(call libs,$(PKG_TEST) $(PKG_DAEMON)) -lm

$B/golden: $(call objs,tests/parity/golden*.c) $B/libckveng.a $B/libckvk.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,jansson libxxhash) -lm

$B/tests/crash_%: $B/tests/crash/crash_%.o $(CRASHERS) $B/libckvtest.a $B/libckv.a
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_TEST) $(PKG_CLIENT)) -lm

$B/tests/in_mode: $B/tests/e2e/in_mode.o $B/libckvtest.a
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,libseccomp)

$B/tests/hits: $B/tests/e2e/hits.o $B/libckv.a
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_CLIENT)) -lm

# The race detector sees no fences (-Wno-tsan); those have the stress and the models.
build-tsan/%: tests/race/%.c
	@mkdir -p $(@D)
	$(call run,TSAN)$(CC) $(CPPFLAGS) $(CFLAGS) -O1 -Wno-tsan -fsanitize=thread \
		-o $@ $<

# The library under the race detector; its daemon and the kernels are ordinary ones.
$(RACELIB): build-tsan/%: tests/race/%.c $(patsubst %.c,build-tsan/%.o,$(sort \
		$(wildcard client/*.c) tests/lib/daemon.c tests/lib/mode.c)) build/libckvk.a
	@mkdir -p $(@D)
	$(call run,TSAN)$(CC) $(CPPFLAGS) $(CFLAGS) -O1 -Wno-tsan -fsanitize=thread \
		-o $@ $(filter %.c %.o %.a,$^) $(call libs,$(PKG_CLIENT) libseccomp) -lm

build-tsan/%.o: %.c
	@mkdir -p $(@D)
	$(call run,TSAN)$(CC) $(CPPFLAGS) $(CFLAGS) -O1 -Wno-tsan -fsanitize=thread \
		-c -o $@ $<

# Device code as C++ on this processor, always under ASan and UBSan; see tests/simt/simt.h.
SIMT_FLAGS := -O1 -g -pthread -fno-omit-frame-pointer -ffp-contract=off -fno-strict-aliasing \
	-fsanitize=address,undefined -fno-sanitize-recover=all
# The tests of kernels, which also run on an emulated driver and on a GPU.
GPU_TESTS := $(patsubst tests/simt/test_simt_%.c,%,$(filter-out %harness.c,$(sort \
	$(wildcard tests/simt/test_simt_*.c))))
SIMT_LIB := $(patsubst tests/simt/%.c,build-simt/%.o,$(sort \
	$(filter-out tests/simt/test_simt_%,$(wildcard tests/simt/*.c)))) \
	$(patsubst %.cu,build-simt/%.cu.o,$(sort $(wildcard kernels/*.cu tests/simt/*.cu))) \
	$(patsubst %.c,build-simt/%.o,$(sort $(LAUNCHERS)))

build-simt/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call run,SIMT)$(CXX) $(CPPFLAGS) -Itests/simt -std=c++20 $(SIMT_FLAGS) -Wall \
		-Wextra -Werror -Wno-unknown-pragmas -x c++ -include simt.cuh -c -o $@ $<

# The harness itself tells ASan what it does, and is not slowed down by it.
build-simt/%.o: tests/simt/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -std=c17 $(WARN) -O2 -g -pthread -c -o $@ $<

build-simt/kernels/%.o: kernels/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -std=c17 $(WARN) $(SIMT_FLAGS) -c -o $@ $<

build-simt/test_simt_%.o: tests/simt/test_simt_%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -std=c17 $(WARN) $(SIMT_FLAGS) -c -o $@ $<

build-simt/libckvsimt.a: $(SIMT_LIB)
	$(call run,AR)rm -f $@ && $(AR) rcs $@ $^

build-simt/test_simt_%: build-simt/test_simt_%.o build-simt/libckvsimt.a $B/libckvk.a
	$(call run,LD)$(CXX) $(SIMT_FLAGS) -o $@ $^ $(call libs,check libxxhash) -lm

# The same tests by way of what brings them to a GPU, with memory of this machine.
GPU_HERE := $(patsubst %,build-simt/gpu/%.o,front mirror here/device $(LAUNCHERS:kernels/%.c=%))

build-simt/gpu/%.o: tests/gpu/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -std=c17 $(WARN) $(SIMT_FLAGS) -c -o $@ $<

build-simt/gpu/cuda_%.o: kernels/cuda_%.c tests/gpu/names.h
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -include tests/gpu/names.h -std=c17 $(WARN) $(SIMT_FLAGS) \
		-c -o $@ $<

build-simt/test_gpu_%: build-simt/test_simt_%.o $(GPU_HERE) build-simt/libckvsimt.a $B/libckvk.a
	$(call run,LD)$(CXX) $(SIMT_FLAGS) -o $@ $^ $(call libs,check libxxhash) -lm

# PTX in C, on the harness' fibers; see tests/cuda/emu. Position-independent, as what is made of
# it is loaded like a driver. What is in build-emu/asan knows ASan; translated kernels ask it.
EMU_FLAGS := -std=gnu17 $(WARN) -g -fPIC -pthread -fno-omit-frame-pointer -ffp-contract=off \
	-fno-strict-aliasing
EMU_SIMT  := $(patsubst %,build-emu/simt/%.o,fiber launch meet)
EMU_TESTS := $(foreach d,build-emu build-emu/asan,$(patsubst tests/cuda/emu/%.c,$d/%,$(sort \
	$(wildcard tests/cuda/emu/test_emu_*.c))))

build-emu/simt/%.o: tests/simt/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(EMU_FLAGS) -O2 -c -o $@ $<

build-emu/%.o: tests/cuda/emu/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(EMU_FLAGS) -O2 -c -o $@ $<

build-emu/asan/%.o: tests/cuda/emu/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(EMU_FLAGS) -O1 -fsanitize=address -c -o $@ $<

PTX2C := tests/cuda/emu/ptx2c.py tests/cuda/emu/ptx.py tests/cuda/emu/ptx_rows.py
export PYTHONDONTWRITEBYTECODE = 1

build-emu/%.c: tests/cuda/emu/%.ptx $(PTX2C)
	@mkdir -p $(@D)
	$(call run,PTX2C)tests/cuda/emu/ptx2c.py $< $@

build-emu/%.c: build-emu/%.ptx $(PTX2C)
	$(call run,PTX2C)tests/cuda/emu/ptx2c.py $< $@

# What is translated has few warnings to give, and is large: it is optimised a little.
build-emu/%.ptx.o: build-emu/%.c
	$(call run,CC)$(CC) $(CPPFLAGS) $(filter-out $(WARN) -g,$(EMU_FLAGS)) -w -Og -c -o $@ $<

build-emu/examples.ptx build-emu/examples.h &: tests/cuda/emu/examples.py \
		tests/cuda/emu/examples.txt $(PTX2C)
	@mkdir -p $(@D)
	$(call run,GEN)python3 $< tests/cuda/emu/examples.txt build-emu/examples.ptx \
		build-emu/examples.h

build-emu/test_emu_ptx.o build-emu/asan/test_emu_ptx.o: build-emu/examples.h

# The driver. Kernels are in libraries of their own, made for it by its name; a test loads both.
EMU_DRIVER := alloc.o device.o event.o fault.o heir.o library.o memory.o ptx.o range.o stream.o work.o
build-emu/libckv-emu-cuda.so: $(EMU_DRIVER:%=build-emu/%) build-emu/no_asan.o
build-emu/asan/libckv-emu-cuda.so: $(EMU_DRIVER:%=build-emu/asan/%)
build-emu/libckv-emu-cuda.so build-emu/asan/libckv-emu-cuda.so: $(EMU_SIMT)
	$(call run,LD)$(CC) -shared -pthread -Wl,-Bsymbolic -Wl,-soname,libckv-emu-cuda.so \
		$(if $(findstring /asan/,$@),-fsanitize=address) -o $@ $^ -lm -ldl

build-emu/kernels-meet.so: build-emu/meet.ptx.o
build-emu/kernels-%.so: build-emu/ptx_table.o build-emu/libckv-emu-cuda.so
	$(call run,LD)$(CC) -shared -Wl,--no-as-needed -o $@ $^ -lm

EMU_PTX := ptx.o ptx_table.o test_emu_ptx.o
# The product's kernels, as nvcc makes them; one kind of GPU will do.
EMU_ARCH := compute_90
EMU_CU   := $(patsubst kernels/%.cu,build-emu/%.ptx.o,$(sort $(wildcard kernels/*.cu)))

build-emu/%.ptx: kernels/%.cu
	@mkdir -p $(@D)
	$(call run,NVCC)nvcc -ptx -std=c++17 -O3 -fmad=false -I. -arch=$(EMU_ARCH) -MMD -MP \
		-MF $(@:.ptx=.ptx.d) -MT $@ -o $@ $<

build-emu/kernels-ckv.so: $(EMU_CU)

# The harness' tests with the launchers, on the driver.
EMU_KERNELS := $(GPU_TESTS:%=kernels_%)
EMU_LAUNCH  := $(patsubst kernels/%.c,%.o,$(LAUNCHERS)) cuda_driver.o cuda_launch.o front.o \
	object.o

build-emu/cuda_%.o: kernels/cuda_%.c tests/gpu/names.h
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -include tests/gpu/names.h $(EMU_FLAGS) -O2 -c -o $@ $<

build-emu/asan/cuda_%.o: kernels/cuda_%.c tests/gpu/names.h
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -include tests/gpu/names.h $(EMU_FLAGS) -O1 \
		-fsanitize=address -c -o $@ $<

build-emu/%.o: tests/simt/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(EMU_FLAGS) -O2 -c -o $@ $<

build-emu/asan/%.o: tests/simt/%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(EMU_FLAGS) -O1 -fsanitize=address -c -o $@ $<

$(EMU_KERNELS:%=build-emu/%): build-emu/kernels_%: build-emu/test_simt_%.o \
		$(EMU_LAUNCH:%=build-emu/%) build/libckvk.a
	$(call run,LD)$(CC) -pthread -o $@ $^ $(call libs,check libxxhash) -lm -ldl
$(EMU_KERNELS:%=build-emu/asan/%): build-emu/asan/kernels_%: build-emu/asan/test_simt_%.o \
		$(EMU_LAUNCH:%=build-emu/asan/%) build/libckvk.a
	$(call run,LD)$(CC) -pthread -fsanitize=address -o $@ $^ $(call libs,check libxxhash) \
		-lm -ldl

emu-kernels: build-emu/kernels-ckv.so $(foreach d,build-emu build-emu/asan,\
	$d/libckv-emu-cuda.so $(EMU_KERNELS:%=$d/%))

EMU_LOADERS := test_emu_death test_emu_devices test_emu_driver test_emu_faults test_emu_plain
$(EMU_LOADERS:%=build-emu/%): build-emu/%: build-emu/%.o build-emu/libckv-emu-cuda.so \
		build-emu/kernels-meet.so
	$(call run,LD)$(CC) -pthread -o $@ $(filter %.o,$^) $(call libs,check)
$(EMU_LOADERS:%=build-emu/asan/%): build-emu/asan/%: build-emu/asan/%.o \
		build-emu/asan/libckv-emu-cuda.so build-emu/kernels-meet.so
	$(call run,LD)$(CC) -pthread -fsanitize=address -o $@ $(filter %.o,$^) $(call libs,check)

build-emu/test_emu_ptx: $(EMU_PTX:%=build-emu/%) build-emu/no_asan.o
build-emu/asan/test_emu_ptx: $(EMU_PTX:%=build-emu/asan/%)
build-emu/test_emu_ptx build-emu/asan/test_emu_ptx: build-emu/meet.ptx.o build-emu/examples.ptx.o \
		$(EMU_SIMT)
	$(call run,LD)$(CC) -pthread $(if $(findstring /asan/,$@),-fsanitize=address) -o $@ $^ \
		$(call libs,check) -lm

$B/tests/stress_%: $B/tests/race/stress_%.o
	@mkdir -p $(@D)
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^

# Plain `make` installs nothing, so where a compiler or a header is missing it says how.
$B/%.o: %.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $< || \
		{ tests/deps.sh --name $(if $(filter $B/tests/%,$@),test,demo); exit 1; }

# One object for all GPUs that this nvcc knows, and PTX for later ones; what ptxas says
# stays beside it.
CUDA_ARCHS := $(filter $(if $(filter yes,$(CUDA)),$(patsubst compute_%,%,$(shell nvcc \
	--list-gpu-arch))),80 90 100)
CUDA_PTX   := $(lastword $(CUDA_ARCHS))
CUDA_CODE  := $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$a,code=sm_$a) \
	-gencode arch=compute_$(CUDA_PTX),code=compute_$(CUDA_PTX)

build/%.cu.fatbin: %.cu
	@mkdir -p $(@D)
	$(call run,NVCC)nvcc -fatbin -std=c++17 -O3 -fmad=false -I. $(CUDA_CODE) -Xptxas -v -MMD -MP \
		-MF $(@:.fatbin=.d) -MT $@ -o $@ $< >$(@:.fatbin=.log) 2>&1 || \
		{ cat $(@:.fatbin=.log); rm -f $@; exit 1; }

# The launchers for a GPU; and, an object apart, the device code that they launch.
$B/libckvcuda.a: $(filter-out %/cuda_image.o,$(CUDA_C:%.c=$B/%.o))
$B/kernels/cuda_image.o: $(CUDA_O)
$B/kernels/cuda_image.o: CPPFLAGS += $(if $(CUDA_O),-DCKV_CUDA_CODE)

# What a machine with a GPU needs to check and time the kernels, in one folder: a program
# with everything in it, that finds the driver there. See tests/gpu/run.
GPU       := build/gpu-check
GPU_OBJ   := build/gpu-obj
GPU_O     := $(GPU_TESTS:%=$(GPU_OBJ)/test_simt_%.o) $(GPU_OBJ)/object.o \
	$(patsubst tests/gpu/%.c,$(GPU_OBJ)/%.o,$(sort $(wildcard tests/gpu/*.c))) \
	$(patsubst kernels/%.c,$(GPU_OBJ)/%.o,$(sort $(LAUNCHERS)))
# Static, but for libxxhash: its choice of code by processor is in the shared one only.
GPU_LIBS   = $(foreach l,check subunit jansson,$(shell $(CC) -print-file-name=lib$l.a))

$(GPU_OBJ)/test_simt_%.o: tests/simt/test_simt_%.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(CFLAGS) -Wno-missing-prototypes \
		-Dmain=test_simt_$*_main -c -o $@ $<

$(GPU_OBJ)/object.o: tests/simt/object.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# The tests that the program has, for its main.c.
$(GPU_OBJ)/tests.h: $(GPU_TESTS:%=tests/simt/test_simt_%.c)
	@mkdir -p $(@D)
	$(call run,GEN)echo '#define TESTS(do) $(patsubst %,do(%),$(GPU_TESTS))' >$@

$(GPU_OBJ)/%.o: tests/gpu/%.c $(GPU_OBJ)/tests.h
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -I$(GPU_OBJ) $(CFLAGS) -c -o $@ $<

$(GPU_OBJ)/cuda_%.o: kernels/cuda_%.c tests/gpu/names.h
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) -include tests/gpu/names.h $(CFLAGS) -c -o $@ $<

$(GPU)/lib/libxxhash.so.0:
	@mkdir -p $(@D)
	$(call run,COPY)cp -L $$($(CC) -print-file-name=libxxhash.so) $@

$(GPU)/ckv-gpu-check: $(GPU_O) build/kernels/cuda_image.o build/libckvcuda.a build/libckvk.a $(GPU)/lib/libxxhash.so.0
	$(call run,LD)$(CC) $(LDFLAGS) -static-libgcc -o $@ $(GPU_O) build/kernels/cuda_image.o build/libckvcuda.a \
		build/libckvk.a $(GPU_LIBS) $(GPU)/lib/libxxhash.so.0 -Wl,-rpath,'$$ORIGIN/lib' -lm

$(GPU)/run: $(GPU)/ckv-gpu-check tests/gpu/run
	$(call run,PACK)cp tests/gpu/run $@

gpu-check:
	@$(if $(filter yes,$(CUDA)),$(call deps,gpu),echo "gpu-check: nvcc of CUDA 13 is needed (README); \
		nothing was built and nothing was measured" >&2; exit 1)
	@$(again) $(GPU)/run
	@tests/gpu/check $(GPU) $$RUN $${JSON:+"$$JSON"}

build/cuda-report.txt: $(CUDA_O) tests/cuda/report
	$(call run,GEN)tests/cuda/report $(CUDA_O:.fatbin=.log) >$@

# The kernels for GPUs, and the programs that run their code here.
device: $(SIMT) $(GPU_TESTS:%=build-simt/test_gpu_%) $(if $(CUDA_O),build/cuda-report.txt $(GPU)/run)

# What a new user types. The packages come first, so the build is a second make.
deps = $(if $(filter no,$(DEPS)),true,tests/deps.sh $(1))
again = $(MAKE) --no-print-directory -j$(shell nproc)

demo:
	@$(call deps,demo)
	@$(again) all
	@$B/ckv-engine --demo

test:
	@{ $(call deps,test) && $(again) all tests device && $(again) SAN=address,undefined all tests && \
		$(again) PORTABLE=1 twins; } || \
		{ echo "0 passed, 1 failed, 0 skipped"; exit 1; }
	@tests/run

tests: $(UNIT) $(FUZZERS) $(CRASH) $B/golden $B/tests/in_mode $B/tests/hits $(if $(SAN),,$(RACE) $(EMU_TESTS))

# What has a plain twin, and the tests that judge it; all that is installed, compiled only.
twins: all $(filter $B/tests/test_core_% $B/tests/test_engine_vec $B/tests/test_kernels_% \
	$B/tests/test_lib_% $B/tests/test_proto_%,$(UNIT))

objects: $(CLIENT) $(CLI) $(ENGINE) $(CORE) $(SHELL_O) $(KEEPER) $(KERNELS) \
	$(CUDA_C:%.c=$B/%.o) $B/daemon/main.o

simt:
	@$(call deps,test)
	@$(again) device
	@tests/run test_simt_ tests/cuda

race:
	@$(call deps,test)
	@$(again) $(RACE)
	@tests/run race_ stress_

fuzzers: $(FUZZERS)

fuzz:
	@$(call deps,test)
	@$(again) FUZZ=1 CC=clang SAN=fuzzer-no-link,address,undefined fuzzers
	@tests/fuzz/run $(SECONDS)

bench:
	@$(call deps,bench)
	@$(again) all $B/ckv-bench
	@tests/bench/run $(if $(QUICK),--quick) $${JSON:+--json "$$JSON"}

quality:
	@$(call deps,quality)
	@$(again) $B/ckv-quality
	@tests/quality/run $(if $(QUICK),--quick) $${JSON:+--json "$$JSON"} \
		$(if $(RECORD),--record)

DIR ?= tests/data/golden
golden:
	@$(call deps,test)
	@$(again) $B/golden
	@$B/golden $(DIR)

lint:
	@$(call deps,test)
	@tests/lint.sh

# What is installed: mode, file, place below PREFIX. `@PREFIX@` and `@VERSION@` are filled in.
INSTALLED := \
	755:$B/ckv:bin/ckv \
	755:$B/ckvd:sbin/ckvd \
	755:$B/libckv.so:lib/libckv.so.$(VERSION) \
	644:$B/libckv.a:lib/libckv.a \
	644:client/ckv.h:include/ckv.h \
	$(foreach h,write views events,644:client/ckv_$h.h:include/ckv_$h.h) \
	644:client/libckv.pc.in:lib/pkgconfig/libckv.pc \
	$(foreach m,$(sort $(wildcard client/*.[1-8] daemon/*.[1-8])),\
		644:$m:share/man/man$(subst .,,$(suffix $m))/$(notdir $m)) \
	644:systemd/ckvd.service:lib/systemd/system/ckvd.service \
	644:systemd/ckvd.sysusers:lib/sysusers.d/ckvd.conf \
	644:systemd/ckvd.tmpfiles:lib/tmpfiles.d/ckvd.conf \
	644:systemd/ckvd.conf:share/doc/ckv/ckvd.conf.example \
	755:$B/ckv-engine:libexec/ckv/ckv-engine \
	$(foreach f,config.json model.safetensors story-1.json story-2.json vocab.txt,\
		644:tests/data/tiny-recall/$f:share/ckv/tiny-recall/$f)
SONAMES := lib/libckv.so.0 lib/libckv.so
D = $(DESTDIR)$(PREFIX)
part = $(word $(2),$(subst :, ,$(1)))

# Into a DESTDIR nothing but the files; else packages that the build lacks, too, and the
# loader is told. Nobody's /etc is touched: the README says what is left to do.
install:
	@$(if $(DESTDIR),true,$(call deps,demo))
	@$(again) all
	@$(foreach f,$(INSTALLED),$(call put,$f) &&) \
	ln -sf libckv.so.$(VERSION) "$(D)/lib/libckv.so.0" && \
	ln -sf libckv.so.0 "$(D)/lib/libckv.so"
	@$(if $(DESTDIR),true,[ "$$(id -u)" != 0 ] || ldconfig)

# Texts are copied with the paths of this PREFIX in them.
put = echo "  PUT   $(D)/$(call part,$1,3)" && install -d "$$(dirname "$(D)/$(call part,$1,3)")" && \
	$(if $(filter $B/% %.safetensors,$(call part,$1,2)),install -m $(call part,$1,1) $(call part,$1,2) \
	"$(D)/$(call part,$1,3)",rm -f "$(D)/$(call part,$1,3)" && sed 's|@PREFIX@|$(PREFIX)|g; \
	s|@VERSION@|$(VERSION)|g' $(call part,$1,2) >"$(D)/$(call part,$1,3)" && \
	chmod $(call part,$1,1) "$(D)/$(call part,$1,3)")

uninstall:
	@$(foreach f,$(foreach i,$(INSTALLED),$(call part,$i,3)) $(SONAMES),\
		echo "  RM    $(D)/$f" && rm -f "$(D)/$f" &&) true
	@rmdir "$(D)/share/doc/ckv" "$(D)/libexec/ckv" "$(D)/share/ckv/tiny-recall" "$(D)/share/ckv" \
		2>/dev/null || true
	@$(if $(DESTDIR),true,[ "$$(id -u)" != 0 ] || ldconfig)

help:
	@sed -n 's/^#: \{0,1\}//p' Makefile

clean:
	$(RM) -r build build-san build-tsan build-simt build-emu build-fuzz build-portable build-fresh

run = $(if $(V),,@printf '  %-5s %s\n' $(1) $@;)
.PHONY: all bench clean demo device emu-kernels fuzz gpu-check fuzzers golden help install lint objects quality race \
	simt test tests twins uninstall
.SECONDARY:
-include $(shell find $B build-tsan build-simt build-emu -name '*.d' -type f 2>/dev/null)
