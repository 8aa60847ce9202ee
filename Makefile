# One Makefile, no recursion, no configure step. `make help` lists the targets.
#
#   make V=1                        show commands
#   make SAN=address,undefined      the same build under sanitizers, in build-san
#   make CUDA=no                    leave the .cu files out (the default without nvcc)
#
# Every directory is one component; a new file in it is picked up by itself.

PREFIX  ?= /usr/local
CFLAGS  ?= -O2 -g
CUDA    ?= $(if $(shell command -v nvcc),yes,no)
VERSION := 0.1.0
B       := build$(if $(SAN),-san)

CPPFLAGS += -D_GNU_SOURCE -I. -MMD -MP -DCKV_VERSION='"$(VERSION)"'
WARN := -Wall -Wextra -Werror -Wconversion -Wshadow -Wvla -Wundef \
	-Wstrict-prototypes -Wmissing-prototypes
override CFLAGS  += -std=c17 -fPIC -pthread -fno-omit-frame-pointer $(WARN) \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
override LDFLAGS += -pthread $(if $(SAN),-fsanitize=$(SAN))

PKG_CLIENT := libcrypto libxxhash
PKG_DAEMON := liburing hwloc libcrypto libxxhash libsystemd inih
PKG_CLI    := $(PKG_CLIENT) jansson
PKG_TEST   := check jansson libseccomp
libs = $(shell pkg-config --libs $(1))

objs     = $(patsubst %.c,$B/%.o,$(sort $(wildcard $(1))))
CLIENT  := $(call objs,client/*.c)
CLI     := $(call objs,client/cli/*.c)
ENGINE  := $(call objs,client/examples/engine/*.c)
CORE    := $(call objs,daemon/core/*.c)
SHELL_O := $(call objs,daemon/shell/*.c)
KERNELS := $(call objs,kernels/*.c)
CUDA_O  := $(if $(filter yes,$(CUDA)),$(patsubst %.cu,$B/%.cu.o,$(sort $(wildcard kernels/*.cu))))
TESTLIB := $(call objs,tests/lib/*.c)
UNIT    := $(patsubst tests/unit/%.c,$B/tests/%,$(sort $(wildcard tests/unit/test_*.c)))

all: $B/ckvd $B/ckv $B/libckv.so $B/libckv.a $B/ckv-engine $(CUDA_O)

$B/libckv.a: $(CLIENT)
$B/libckvd.a: $(CORE) $(SHELL_O)
$B/libckvk.a: $(KERNELS)
$B/libckvtest.a: $(TESTLIB)
$B/%.a:
	$(call run,AR)rm -f $@ && $(AR) rcs $@ $^

$B/libckv.so: $(CLIENT) client/libckv.map
	$(call run,LD)$(CC) $(LDFLAGS) -shared -Wl,-soname,libckv.so.0 \
		-Wl,--version-script=client/libckv.map -Wl,--no-undefined \
		-o $@ $(CLIENT) $(call libs,$(PKG_CLIENT))

$B/ckvd: $B/daemon/main.o $B/libckvd.a $B/libckvk.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_DAEMON)) -lm

$B/ckv: $(CLI) $B/libckv.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_CLI)) -lm

$B/ckv-engine: $(ENGINE) $B/libckv.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ $(call libs,$(PKG_CLI)) -lm

$B/tests/test_%: $B/tests/unit/test_%.o $B/libckvtest.a $B/libckvd.a $B/libckv.a $B/libckvk.a
	$(call run,LD)$(CC) $(LDFLAGS) -o $@ $^ \
		$(call libs,$(PKG_TEST) $(PKG_DAEMON)) -lm

$B/%.o: %.c
	@mkdir -p $(@D)
	$(call run,CC)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$B/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call run,NVCC)nvcc -std=c++17 -O3 -I. -arch=sm_90 -MMD -MP -c -o $@ $<

clean:
	$(RM) -r build build-san build-tsan build-fuzz

run = $(if $(V),,@printf '  %-5s %s\n' $(1) $@;)
.PHONY: all clean
.SECONDARY:
-include $(shell find $B -name '*.d' 2>/dev/null)
