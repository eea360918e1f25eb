#ifndef BEREK_KERNELS_H
#define BEREK_KERNELS_H
#include <stdint.h>
#endif
