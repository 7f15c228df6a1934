/* 2 pixels x 4 filters, int16 weights */
/* clang-format off */
static UTVM_ASSEMBLY void block(
    const int16_t *x __attribute__((unused)),
    const int32_t *stream __attribute__((unused)),
    int8_t *out __attribute__((unused))) {
  __asm__(
      "  push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n"
      "  sub sp, sp, #12\n"
      "  str r2, [sp, #4]\n"                 /* out on the stack */
      "  add r2, r1, #320\n"                 /* stream end <- stream */
      "  str r2, [sp]\n"                     /* stream end on the stack */
      "  add r2, r0, #32\n"                  /* x end <- x */
      "  str r2, [sp, #8]\n"                 /* x end on the stack */
      ".Lblock_2:\n"                         /* for o */
      "  ldr r8, [r1], #16\n"                /* acc10, stream */
      "  ldr r9, [r1, #-12]\n"               /* acc11 <- stream */
      "  ldr r10, [r1, #-8]\n"               /* acc12 <- stream */
      "  ldr r11, [r1, #-4]\n"               /* acc13 <- stream */
      "  mov r12, r8\n"                      /* acc00 <- acc10 */
      "  mov lr, r9\n"                       /* acc01 <- acc11 */
      "  mov r7, r10\n"                      /* acc02 <- acc12 */
      "  mov r6, r11\n"                      /* acc03 <- acc13 */
      ".Lblock_4:\n"                         /* for k */
      "  ldr r5, [r0], #8\n"                 /* x0_0, x */
      "  ldr r4, [r1], #32\n"                /* w0_0, stream */
      "  ldr r2, [r0, #24]\n"                /* x1_0 <- x */
      "  ldr r3, [r1, #-28]\n"               /* w1_0 <- stream */
      "  smlad r12, r5, r4, r12\n"           /* acc00 <- x0_0, w0_0 */
      "  smlad r8, r2, r4, r8\n"             /* acc10 <- x1_0, w0_0 */
      "  smlad lr, r5, r3, lr\n"             /* acc01 <- x0_0, w1_0 */
      "  smlad r9, r2, r3, r9\n"             /* acc11 <- x1_0, w1_0 */
      "  ldr r4, [r1, #-24]\n"               /* w2_0 <- stream */
      "  ldr r3, [r1, #-20]\n"               /* w3_0 <- stream */
      "  smlad r7, r5, r4, r7\n"             /* acc02 <- x0_0, w2_0 */
      "  smlad r10, r2, r4, r10\n"           /* acc12 <- x1_0, w2_0 */
      "  smlad r6, r5, r3, r6\n"             /* acc03 <- x0_0, w3_0 */
      "  smlad r11, r2, r3, r11\n"           /* acc13 <- x1_0, w3_0 */
      "  ldr r5, [r0, #-4]\n"                /* x0_1 <- x */
      "  ldr r4, [r1, #-16]\n"               /* w0_1 <- stream */
      "  ldr r2, [r0, #28]\n"                /* x1_1 <- x */
      "  ldr r3, [r1, #-12]\n"               /* w1_1 <- stream */
      "  smlad r12, r5, r4, r12\n"           /* acc00 <- x0_1, w0_1 */
      "  smlad r8, r2, r4, r8\n"             /* acc10 <- x1_1, w0_1 */
      "  smlad lr, r5, r3, lr\n"             /* acc01 <- x0_1, w1_1 */
      "  smlad r9, r2, r3, r9\n"             /* acc11 <- x1_1, w1_1 */
      "  ldr r4, [r1, #-8]\n"                /* w2_1 <- stream */
      "  ldr r3, [r1, #-4]\n"                /* w3_1 <- stream */
      "  smlad r7, r5, r4, r7\n"             /* acc02 <- x0_1, w2_1 */
      "  smlad r10, r2, r4, r10\n"           /* acc12 <- x1_1, w2_1 */
      "  smlad r6, r5, r3, r6\n"             /* acc03 <- x0_1, w3_1 */
      "  smlad r11, r2, r3, r11\n"           /* acc13 <- x1_1, w3_1 */
      "  ldr r2, [sp, #8]\n"                 /* x end on the stack */
      "  cmp r0, r2\n"                       /* x, x end */
      "  bne .Lblock_4\n"
      "  ldr r5, [r1], #16\n"                /* m0, stream */
      "  ldr r2, [sp, #4]\n"                 /* out on the stack */
      "  movs r4, #3\n"
      "  smmla r12, r12, r5, r4\n"           /* acc00, m0 */
      "  smmla r8, r8, r5, r4\n"             /* acc10, m0 */
      "  ssat r3, #8, r12, asr #4\n"
      "  strb r3, [r2]\n"                    /* out */
      "  ssat r3, #8, r8, asr #4\n"
      "  strb r3, [r2, #8]\n"                /* out */
      "  ldr r8, [r1, #-12]\n"               /* m1 <- stream */
      "  ldr r12, [r1, #-8]\n"               /* m2 <- stream */
      "  ldr r5, [r1, #-4]\n"                /* m3 <- stream */
      "  smmla lr, lr, r8, r4\n"             /* acc01, m1 */
      "  smmla r8, r9, r8, r4\n"             /* acc11, m1 */
      "  ssat r3, #8, lr, asr #4\n"
      "  strb r3, [r2, #1]\n"                /* out */
      "  ssat r3, #8, r8, asr #4\n"
      "  strb r3, [r2, #9]\n"                /* out */
      "  ldr r3, [sp]\n"                     /* stream end on the stack */
      "  cmp r1, r3\n"                       /* stream, stream end */
      "  smmla r8, r7, r12, r4\n"            /* acc02, m2 */
      "  smmla r9, r10, r12, r4\n"           /* acc12, m2 */
      "  ssat r3, #8, r8, asr #4\n"
      "  strb r3, [r2, #2]\n"                /* out */
      "  ssat r3, #8, r9, asr #4\n"
      "  strb r3, [r2, #10]\n"               /* out */
      "  smmla r8, r6, r5, r4\n"             /* acc03, m3 */
      "  smmla r9, r11, r5, r4\n"            /* acc13, m3 */
      "  ssat r3, #8, r8, asr #4\n"
      "  strb r3, [r2, #3]\n"                /* out */
      "  ssat r3, #8, r9, asr #4\n"
      "  strb r3, [r2, #11]\n"               /* out */
      "  sub r0, r0, #32\n"                  /* x */
      "  add r2, r2, #4\n"                   /* out */
      "  str r2, [sp, #4]\n"                 /* out on the stack */
      "  bne .Lblock_2\n"
      "  add sp, sp, #12\n"
      "  pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}
/* clang-format on */
