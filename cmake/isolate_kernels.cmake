# Joins the objects of one instruction set into one object whose inline functions and templates are its own.
#
# Such functions are weak symbols: of all copies in a program the linker keeps one, and if that one was compiled for
# AVX-512, a processor without AVX-512 dies on it. After this script the copies of an instruction set are local symbols,
# so code compiled for it calls its own copies and nobody else does. .ci/check_isa_symbols.py checks the outcome.
#
# Names that hold the set's namespace (explicit instantiations among them) cannot meet another set's and stay as they are.
#
# cmake -DNAMESPACE=isa_avx2 -DOBJECTS=<file with one path on each line> -DOUTPUT= -DLINKER= -DNM= -DOBJCOPY= -P isolate_kernels.cmake
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE error)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "isolate_kernels: ${ARGN}: ${output}${error}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(STRINGS "${OBJECTS}" objects)
# Groups are what makes the linker drop the other copies; here each is resolved for good.
run("${LINKER}" -r --force-group-allocation -o "${OUTPUT}.joined" ${objects})
run("${NM}" --defined-only --format=posix "${OUTPUT}.joined")
string(REGEX MATCHALL "[^\n]+ [WVu] " weak_lines "${output}")
list(TRANSFORM weak_lines REPLACE " [WVu] $" "")
list(FILTER weak_lines EXCLUDE REGEX "[0-9]${NAMESPACE}")
list(JOIN weak_lines "\n" weak_names)
file(WRITE "${OUTPUT}.weak" "${weak_names}\n")
run("${OBJCOPY}" "--localize-symbols=${OUTPUT}.weak" "${OUTPUT}.joined" "${OUTPUT}")
file(REMOVE "${OUTPUT}.joined")
