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
      "  ldr r2, [r1], #16\n"                /* acc10, stream */
      "  ldr r3, [r1, #-12]\n"               /* acc11 <- stream */
      "  ldr r4, [r1, #-8]\n"                /* acc12 <- stream */
      "  ldr r5, [r1, #-4]\n"                /* acc13 <- stream */
      "  mov r6, r2\n"                       /* acc00 <- acc10 */
      "  mov r7, r3\n"                       /* acc01 <- acc11 */
      "  mov r8, r4\n"                       /* acc02 <- acc12 */
      "  mov r9, r5\n"                       /* acc03 <- acc13 */
      ".Lblock_4:\n"                         /* for k */
      "  ldr r10, [r0], #8\n"                /* x0_0, x */
      "  ldr r11, [r1], #32\n"               /* w0_0, stream */
      "  ldr r12, [r0, #24]\n"               /* x1_0 <- x */
      "  ldr lr, [r1, #-28]\n"               /* w1_0 <- stream */
      "  smlad r6, r10, r11, r6\n"           /* acc00 <- x0_0, w0_0 */
      "  smlad r2, r12, r11, r2\n"           /* acc10 <- x1_0, w0_0 */
      "  smlad r7, r10, lr, r7\n"            /* acc01 <- x0_0, w1_0 */
      "  smlad r3, r12, lr, r3\n"            /* acc11 <- x1_0, w1_0 */
      "  ldr r11, [r1, #-24]\n"              /* w2_0 <- stream */
      "  ldr lr, [r1, #-20]\n"               /* w3_0 <- stream */
      "  smlad r8, r10, r11, r8\n"           /* acc02 <- x0_0, w2_0 */
      "  smlad r4, r12, r11, r4\n"           /* acc12 <- x1_0, w2_0 */
      "  smlad r9, r10, lr, r9\n"            /* acc03 <- x0_0, w3_0 */
      "  smlad r5, r12, lr, r5\n"            /* acc13 <- x1_0, w3_0 */
      "  ldr r10, [r0, #-4]\n"               /* x0_1 <- x */
      "  ldr r11, [r1, #-16]\n"              /* w0_1 <- stream */
      "  ldr r12, [r0, #28]\n"               /* x1_1 <- x */
      "  ldr lr, [r1, #-12]\n"               /* w1_1 <- stream */
      "  smlad r6, r10, r11, r6\n"           /* acc00 <- x0_1, w0_1 */
      "  smlad r2, r12, r11, r2\n"           /* acc10 <- x1_1, w0_1 */
      "  smlad r7, r10, lr, r7\n"            /* acc01 <- x0_1, w1_1 */
      "  smlad r3, r12, lr, r3\n"            /* acc11 <- x1_1, w1_1 */
      "  ldr r11, [r1, #-8]\n"               /* w2_1 <- stream */
      "  ldr lr, [r1, #-4]\n"                /* w3_1 <- stream */
      "  smlad r8, r10, r11, r8\n"           /* acc02 <- x0_1, w2_1 */
      "  smlad r4, r12, r11, r4\n"           /* acc12 <- x1_1, w2_1 */
      "  smlad r9, r10, lr, r9\n"            /* acc03 <- x0_1, w3_1 */
      "  smlad r5, r12, lr, r5\n"            /* acc13 <- x1_1, w3_1 */
      "  ldr r10, [sp, #8]\n"                /* x end on the stack */
      "  cmp r0, r10\n"                      /* x, x end */
      "  bne .Lblock_4\n"
      "  ldr r10, [r1], #16\n"               /* m0, stream */
      "  ldr r11, [sp, #4]\n"                /* out on the stack */
      "  mov r12, #3\n"
      "  smmla r6, r6, r10, r12\n"           /* acc00, m0 */
      "  smmla r2, r2, r10, r12\n"           /* acc10, m0 */
      "  ssat r6, #8, r6, asr #4\n"
      "  strb r6, [r11]\n"                   /* out */
      "  ssat r2, #8, r2, asr #4\n"
      "  strb r2, [r11, #8]\n"               /* out */
      "  ldr r2, [r1, #-12]\n"               /* m1 <- stream */
      "  ldr r6, [r1, #-8]\n"                /* m2 <- stream */
      "  ldr r10, [r1, #-4]\n"               /* m3 <- stream */
      "  smmla r7, r7, r2, r12\n"            /* acc01, m1 */
      "  smmla r2, r3, r2, r12\n"            /* acc11, m1 */
      "  ssat r3, #8, r7, asr #4\n"
      "  strb r3, [r11, #1]\n"               /* out */
      "  ssat r2, #8, r2, asr #4\n"
      "  strb r2, [r11, #9]\n"               /* out */
      "  ldr r2, [sp]\n"                     /* stream end on the stack */
      "  cmp r1, r2\n"                       /* stream, stream end */
      "  smmla r2, r8, r6, r12\n"            /* acc02, m2 */
      "  smmla r3, r4, r6, r12\n"            /* acc12, m2 */
      "  ssat r2, #8, r2, asr #4\n"
      "  strb r2, [r11, #2]\n"               /* out */
      "  ssat r2, #8, r3, asr #4\n"
      "  strb r2, [r11, #10]\n"              /* out */
      "  smmla r2, r9, r10, r12\n"           /* acc03, m3 */
      "  smmla r3, r5, r10, r12\n"           /* acc13, m3 */
      "  ssat r2, #8, r2, asr #4\n"
      "  strb r2, [r11, #3]\n"               /* out */
      "  ssat r2, #8, r3, asr #4\n"
      "  strb r2, [r11, #11]\n"              /* out */
      "  sub r0, r0, #32\n"                  /* x */
      "  add r11, r11, #4\n"                 /* out */
      "  str r11, [sp, #4]\n"                /* out on the stack */
      "  bne .Lblock_2\n"
      "  add sp, sp, #12\n"
      "  pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}\n");
}
/* clang-format on */
