# Writes a C++ file that holds a text: cmake -DINPUT=... -DOUTPUT=... -DNAME=... -P embed_text.cmake
#
# The text becomes `const char gorgo::NAME[]`, in pieces that every compiler takes.
file(READ "${INPUT}" text)
string(LENGTH "${text}" length)
set(pieces "")
set(at 0)
while(at LESS length)
  string(SUBSTRING "${text}" ${at} 8000 piece)
  string(APPEND pieces "    R\"__(${piece})__\"\n")
  math(EXPR at "${at} + 8000")
endwhile()
file(WRITE "${OUTPUT}" "namespace gorgo {\n\nextern const char ${NAME}[];\nconst char ${NAME}[] =\n${pieces}    \"\";\n\n}\n")
