/* What is in the flash of `fine_tune.c`: the files that the firmware in Rust includes, see `tests/firmware`. They are
 * found by `-Wa,-Itests/firmware/programs/data`. */
    .section .rodata
    .global numbers
numbers:
    .incbin "numbers.bin"
    .global strips
strips:
    .incbin "strips.bin"
    .section .note.GNU-stack, "", %progbits
