#include "core/check.h"

#include <sstream>
#include <utility>

namespace gorgo {

std::string join_message(std::initializer_list<MessagePart> parts) {
  std::ostringstream out;
  out.precision(17);
  for (const MessagePart& part : parts) part.write(out, part.value);
  return std::move(out).str();
}

}  // namespace gorgo
