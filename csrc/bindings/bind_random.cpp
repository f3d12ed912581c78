// The methods that overwrite a tensor with random numbers: Tensor.normal_(...) is gorgo.random.normal_(tensor, ...).
//
// The draws are compositions in Python, which is imported when somebody first draws. Read next: python/gorgo/random.py.
#include <vector>

#include "bindings/convert.h"
#include "bindings/errors.h"
#include "bindings/tensor_type.h"

namespace gorgo {
namespace {

PyObject* fill(const char* name, PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept {
  return guarded([&] {
    const PyRef module = PyRef::checked(PyImport_ImportModule("gorgo.random"));
    const PyRef function = PyRef::checked(PyObject_GetAttrString(module.get(), name));
    const Py_ssize_t named = kwnames != nullptr ? PyTuple_GET_SIZE(kwnames) : 0;
    std::vector<PyObject*> all{self};
    all.insert(all.end(), args, args + nargs + named);
    return PyRef::checked(PyObject_Vectorcall(function.get(), all.data(), static_cast<size_t>(nargs) + 1, kwnames))
        .detach();
  });
}

#define GORGO_FILL(name)                                                                                       \
  PyObject* fill_##name(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) noexcept { \
    return fill(#name "_", self, args, nargs, kwnames);                                                        \
  }
GORGO_FILL(bernoulli)
GORGO_FILL(cauchy)
GORGO_FILL(exponential)
GORGO_FILL(geometric)
GORGO_FILL(log_normal)
GORGO_FILL(normal)
GORGO_FILL(uniform)
#undef GORGO_FILL

}  // namespace

PyMethodDef tensor_random_methods[] = {
    {"bernoulli_", fast(fill_bernoulli), kFastCall,
     "bernoulli_($self, /, p=0.5, *, generator=None)\n--\n\nOverwrite with ones, with probability p, and zeros."},
    {"cauchy_", fast(fill_cauchy), kFastCall,
     "cauchy_($self, /, loc=0.0, scale=1.0, *, generator=None)\n--\n\nOverwrite with draws from Cauchy distributions."},
    {"exponential_", fast(fill_exponential), kFastCall,
     "exponential_($self, /, rate=1.0, *, generator=None)\n--\n\n"
     "Overwrite with draws from exponential distributions of mean 1 / rate."},
    {"geometric_", fast(fill_geometric), kFastCall,
     "geometric_($self, /, p, *, generator=None)\n--\n\nOverwrite with numbers of trials up to the first success."},
    {"log_normal_", fast(fill_log_normal), kFastCall,
     "log_normal_($self, /, mean=0.0, std=1.0, *, generator=None)\n--\n\n"
     "Overwrite with numbers whose logarithm is normally distributed."},
    {"normal_", fast(fill_normal), kFastCall,
     "normal_($self, /, mean=0.0, std=1.0, *, generator=None)\n--\n\nOverwrite with normally distributed numbers."},
    {"uniform_", fast(fill_uniform), kFastCall,
     "uniform_($self, /, low=0.0, high=1.0, *, generator=None)\n--\n\n"
     "Overwrite with numbers that are uniform in [low, high)."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace gorgo
