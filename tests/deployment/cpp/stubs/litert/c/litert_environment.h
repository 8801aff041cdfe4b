#include "litert/c/litert_common.h"
