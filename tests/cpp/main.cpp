// The entry point of the C++ tests; each other file of this folder tests one part of csrc without Python.
//
// Run one case with gorgo_cpp_tests -tc="name*". Read next: test_check.cpp, the smallest.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
