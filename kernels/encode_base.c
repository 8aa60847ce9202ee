/* encode_base.c - encodings with four lanes, on any processor. */
#include "kernels/encode.h"

#define LANES		4
#define TARGET
#define PICK(mask, a, b)	(((vu)(a) & (vu)(mask)) | ((vu)(b) & ~(vu)(mask)))
#define MIN_S32(a, b)	PICK((vi)(a) < (vi)(b), a, b)
#define MAX_S32(a, b)	PICK((vi)(a) > (vi)(b), a, b)
#define MIN_S16(a, b)	PICK((vs)(a) < (vs)(b), a, b)
#define MAX_S16(a, b)	PICK((vs)(a) > (vs)(b), a, b)
#define MIN_F32(a, b)	((vf)PICK((a) < (b), a, b))
/* From 0 to 2^22: the last bits of the sum with 2^23. */
#define ROUND(x)	((vu)((x) + 0x1p23f) & 0x3fffff)
#define F16_HARDWARE	0

#include "kernels/encode_body.h"

const struct encode_code *encode_code_base(void)
{
	return &code;
}
