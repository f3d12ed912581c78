// repr, str and tolist of tensors. The layout is NumPy's: columns aligned, lines of 75 characters, the middle of more than
// 1000 elements left out, unless the print options say otherwise. It is written out here because a repr must not import
// NumPy.
//
// In order: the options, one number as text, a column format for all shown numbers, the recursion over axes, the Python
// functions.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "bindings/convert.h"
#include "bindings/module.h"
#include "bindings/tensor_type.h"
#include "device/backend.h"

namespace gorgo {
namespace {

// What a thread has chosen; python/gorgo/printing.py checks the values and tells their meaning.
struct PrintOptions {
  int precision = 8;
  int64_t threshold = 1000;
  int64_t edge_items = 3;
  int line_width = 75;
  std::optional<bool> scientific;  // none: by the numbers' range
};
thread_local PrintOptions options;

// printing.py allows as many; with the 309 digits of the largest double they fit kPositionalChars.
constexpr int kMostPrecision = 100;
constexpr size_t kScientificChars = kMostPrecision + 16;
constexpr size_t kPositionalChars = kMostPrecision + 320;

// ---- one number ----

// The shortest digits that read back as the same value of dtype `d`: "d.ddde+xx".
std::string shortest(double value, DType d) {
  char text[64];
  std::to_chars_result end{};
  if (d == DType::Float64 || d == DType::Complex128) {
    end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific);
  } else if (d == DType::Float32 || d == DType::Complex64) {
    end = std::to_chars(text, text + sizeof text, static_cast<float>(value), std::chars_format::scientific);
  } else {
    constexpr int kAlwaysEnough = 8;
    for (int digits = 0; digits < kAlwaysEnough; ++digits) {
      end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific, digits);
      double back = 0.0;
      std::from_chars(text, end.ptr, back);
      const auto narrow = static_cast<float>(back);
      const bool same = d == DType::Float16 ? float(Float16(narrow)) == static_cast<float>(value)
                                            : float(BFloat16(narrow)) == static_cast<float>(value);
      if (same) break;
    }
  }
  return {text, end.ptr};
}

struct Decimal {
  std::string whole;     // with its sign
  std::string fraction;  // without trailing zeros
  int exponent = 0;      // of the scientific form
};

void trim_zeros(std::string& digits) {
  while (!digits.empty() && digits.back() == '0') digits.pop_back();
}

void cut_at_point(Decimal& out, const std::string& mantissa) {
  const size_t point = mantissa.find('.');
  out.whole = mantissa.substr(0, point);
  out.fraction = point == std::string::npos ? "" : mantissa.substr(point + 1);
  trim_zeros(out.fraction);
}

// The exponent of "1.5e+20", whose letter e is at `e`.
int exponent_of(const std::string& text, size_t e) {
  const char* first = text.data() + e + 1;
  int exponent = 0;
  std::from_chars(*first == '+' ? first + 1 : first, text.data() + text.size(), exponent);
  return exponent;
}

Decimal scientific(double value, DType d) {
  std::string text = shortest(value, d);
  size_t e = text.find('e');
  Decimal out;
  cut_at_point(out, text.substr(0, e));
  if (static_cast<int>(out.fraction.size()) > options.precision) {
    char rounded[kScientificChars];
    const auto end =
        std::to_chars(rounded, rounded + sizeof rounded, value, std::chars_format::scientific, options.precision);
    text = {rounded, end.ptr};
    e = text.find('e');
    cut_at_point(out, text.substr(0, e));
  }
  out.exponent = exponent_of(text, e);
  return out;
}

Decimal positional(double value, DType d) {
  const std::string text = shortest(value, d);
  const size_t e = text.find('e');
  const int exponent = exponent_of(text, e);
  Decimal out;
  cut_at_point(out, text.substr(0, e));
  const bool negative = out.whole.front() == '-';
  std::string digits = out.whole.substr(negative ? 1 : 0) + out.fraction;
  if (static_cast<int>(digits.size()) - 1 - exponent > options.precision) {
    char rounded[kPositionalChars];
    const auto end =
        std::to_chars(rounded, rounded + sizeof rounded, value, std::chars_format::fixed, options.precision);
    cut_at_point(out, {rounded, end.ptr});
    return out;
  }
  if (exponent < 0) digits.insert(0, static_cast<size_t>(-exponent), '0');
  const size_t whole = exponent < 0 ? 1 : static_cast<size_t>(exponent) + 1;
  if (digits.size() < whole) digits.append(whole - digits.size(), '0');
  out.whole = (negative ? "-" : "") + digits.substr(0, whole);
  out.fraction = digits.substr(whole);
  trim_zeros(out.fraction);
  return out;
}

// ---- a column ----

class FloatColumn {
 public:
  FloatColumn(const std::vector<double>& values, DType dtype, bool always_sign)
      : dtype_(dtype), always_sign_(always_sign) {
    double largest = 0.0;
    double smallest = std::numeric_limits<double>::infinity();
    size_t widest_special = 0;
    for (const double v : values) {
      if (!std::isfinite(v)) {
        widest_special = std::max<size_t>(widest_special, std::isinf(v) && (v < 0 || always_sign) ? 4 : 3);
      } else if (v != 0.0) {
        largest = std::max(largest, std::abs(v));
        smallest = std::min(smallest, std::abs(v));
      }
    }
    // Beyond the digits that the dtype holds, a plain number would end in noise.
    const double cutoff = dtype_bits(real_dtype(dtype)) == 64 ? 1e8 : dtype_bits(real_dtype(dtype)) == 32 ? 1e6 : 1e3;
    const bool far_apart = largest >= cutoff || (largest > 0.0 && (smallest < 1e-4 || largest / smallest > 1000.0));
    exponential_ = options.scientific.value_or(far_apart);
    for (const double v : values) {
      if (!std::isfinite(v)) continue;
      const Decimal n = exponential_ ? scientific(v, dtype) : positional(v, dtype);
      left_ = std::max(left_, with_sign(n.whole).size());
      fraction_ = std::max(fraction_, n.fraction.size());
      exponent_digits_ = std::max<size_t>(exponent_digits_, std::abs(n.exponent) >= 100 ? 3 : 2);
    }
    right_ = exponential_ ? fraction_ + 2 + exponent_digits_ : fraction_;
    if (widest_special > right_ + 1) left_ = std::max(left_, widest_special - right_ - 1);
  }

  [[nodiscard]] std::string operator()(double v) const {
    if (!std::isfinite(v)) {
      std::string text = std::isnan(v) ? "nan" : v < 0 ? "-inf" : always_sign_ ? "+inf" : "inf";
      if (std::isnan(v) && always_sign_) text = "+nan";
      const size_t width = left_ + 1 + right_;
      return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
    }
    const Decimal n = exponential_ ? scientific(v, dtype_) : positional(v, dtype_);
    std::string whole = with_sign(n.whole);
    if (whole.size() < left_) whole.insert(0, left_ - whole.size(), ' ');
    std::string fraction = n.fraction;
    if (!exponential_) return whole + "." + fraction + std::string(fraction_ - fraction.size(), ' ');
    if (fraction.size() < fraction_) fraction = exact_fraction(v);
    std::string digits = std::to_string(std::abs(n.exponent));
    if (digits.size() < exponent_digits_) digits.insert(0, exponent_digits_ - digits.size(), '0');
    return whole + "." + fraction + (n.exponent < 0 ? "e-" : "e+") + digits;
  }

 private:
  [[nodiscard]] std::string with_sign(const std::string& whole) const {
    return always_sign_ && whole.front() != '-' ? "+" + whole : whole;
  }
  // As many digits as the others have: those of the value itself, not zeros behind its shortest form.
  [[nodiscard]] std::string exact_fraction(double v) const {
    char text[kScientificChars];
    const auto end =
        std::to_chars(text, text + sizeof text, v, std::chars_format::scientific, static_cast<int>(fraction_));
    const std::string exact(text, end.ptr);
    const size_t point = exact.find('.');
    return exact.substr(point + 1, exact.find('e') - point - 1);
  }

  DType dtype_;
  bool always_sign_;
  bool exponential_ = false;
  size_t left_ = 0;
  size_t fraction_ = 0;
  size_t right_ = 0;
  size_t exponent_digits_ = 2;
};

// The texts of `values`, all of one width.
std::vector<std::string> column(const std::vector<Scalar>& values, DType dtype, bool alone) {
  std::vector<std::string> out;
  if (is_inexact(dtype)) {
    std::vector<double> real;
    std::vector<double> imaginary;
    for (const Scalar& s : values) {
      real.push_back(s.to_double());
      imaginary.push_back(s.imag);
    }
    const FloatColumn left(real, dtype, false);
    if (!is_complex(dtype)) {
      for (const double v : real) out.push_back(left(v));
      return out;
    }
    const FloatColumn right(imaginary, dtype, true);
    for (size_t i = 0; i < real.size(); ++i) {
      std::string text = right(imaginary[i]);
      const size_t end = text.find_last_not_of(' ') + 1;
      out.push_back(left(real[i]) + text.insert(end, "j"));
    }
    return out;
  }
  size_t width = 0;
  for (const Scalar& s : values) {
    out.push_back(dtype == DType::Bool ? (s.i != 0 ? "True" : "False") : cat(s));
    width = std::max(width, out.back().size());
  }
  if (dtype == DType::Bool) width = alone ? 0 : 5;
  for (std::string& text : out) {
    if (text.size() < width) text.insert(0, width - text.size(), ' ');
  }
  return out;
}

// ---- the whole ----

class Layout {
 public:
  Layout(const TensorImpl& t, std::string separator, int line_width)
      : t_(t), separator_(std::move(separator)), line_width_(line_width), summarized_(t.numel > options.threshold) {
    std::vector<Scalar> shown;
    gather(0, 0, shown);
    words_ = column(shown, t.dtype, t.rank() == 0);
  }

  std::string text(const std::string& hanging_indent) { return recurse(0, hanging_indent, line_width_); }

 private:
  // Indices of one axis that are shown; -1 stands for the gap.
  [[nodiscard]] std::vector<int64_t> shown(int axis) const {
    const int64_t n = t_.shape[axis];
    const int64_t edge = options.edge_items;
    std::vector<int64_t> out;
    for (int64_t i = 0; i < n; ++i) {
      if (summarized_ && n > 2 * edge && i == edge) {
        out.push_back(-1);
        i = n - edge;
      }
      out.push_back(i);
    }
    return out;
  }

  void gather(int axis, int64_t offset, std::vector<Scalar>& out) const {
    if (axis == t_.rank()) {
      out.push_back(
          load_scalar(static_cast<const unsigned char*>(t_.data()) + offset * dtype_size(t_.dtype), t_.dtype));
      return;
    }
    for (const int64_t i : shown(axis)) {
      if (i >= 0) gather(axis + 1, offset + i * t_.strides[axis], out);
    }
  }

  std::string recurse(int axis, const std::string& indent, int width) {
    if (axis == t_.rank()) return words_[next_++];
    const std::string deeper = indent + " ";
    const std::vector<int64_t> indices = shown(axis);
    const bool last_axis = axis == t_.rank() - 1;
    std::string bare_separator = separator_;
    while (!bare_separator.empty() && bare_separator.back() == ' ') bare_separator.pop_back();
    std::string text;
    if (last_axis) {
      const int word_width = width - std::max<int>(static_cast<int>(bare_separator.size()), 1);
      std::string line = indent;
      for (size_t k = 0; k < indices.size(); ++k) {
        const std::string word = indices[k] < 0 ? "..." : recurse(axis + 1, deeper, width - 1);
        if (static_cast<int>(line.size() + word.size()) > word_width && line.size() > indent.size()) {
          while (line.back() == ' ') line.pop_back();
          text += line + "\n";
          line = indent;
        }
        line += word;
        if (k + 1 < indices.size()) line += separator_;
      }
      text += line;
    } else {
      const std::string between = bare_separator + std::string(static_cast<size_t>(t_.rank() - axis - 1), '\n');
      for (size_t k = 0; k < indices.size(); ++k) {
        text += indent + (indices[k] < 0 ? "..." : recurse(axis + 1, deeper, width - 1));
        if (k + 1 < indices.size()) text += between;
      }
    }
    return "[" + text.substr(indent.size()) + "]";
  }

  const TensorImpl& t_;
  std::string separator_;
  int line_width_;
  bool summarized_;
  std::vector<std::string> words_;
  size_t next_ = 0;
};

// Elements are looked at from the host.
std::string body(const TensorImpl& tensor, const char* separator, const std::string& prefix, int line_width) {
  if (tensor.device().type == DeviceType::Null) return "...";
  if (tensor.numel == 0) return "[]";
  const Tensor here = on_host(Tensor::share(const_cast<TensorImpl*>(&tensor)));
  const TensorImpl& t = *here;
  return Layout(t, separator, line_width).text(std::string(prefix.size() + 1, ' ').substr(t.rank() == 0 ? 1 : 0));
}

bool is_default(DType d) {
  return d == DType::Float32 || d == DType::Int64 || d == DType::Bool || d == DType::Complex64;
}

PyObject* list_of(const TensorImpl& t, int axis, int64_t offset) {
  if (axis == t.rank()) {
    return to_python(load_scalar(static_cast<const unsigned char*>(t.data()) + offset * dtype_size(t.dtype), t.dtype));
  }
  PyRef list = PyRef::checked(PyList_New(static_cast<Py_ssize_t>(t.shape[axis])));
  for (int64_t i = 0; i < t.shape[axis]; ++i) {
    PyObject* item = list_of(t, axis + 1, offset + i * t.strides[axis]);
    if (item == nullptr) throw PythonError();
    PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(i), item);
  }
  return list.detach();
}

}  // namespace

PyObject* tensor_repr(PyObject* self) noexcept {
  return guarded([&] {
    const TensorImpl& t = *tensor_of(self);
    const std::string prefix = "tensor(";
    std::string text = prefix + body(t, ", ", prefix, options.line_width - 1);
    std::vector<std::string> extras;
    const bool imaginary = t.device().type == DeviceType::Null;
    if ((t.numel == 0 && t.shape != Shape{0}) || imaginary) extras.push_back(cat("shape=", t.shape));
    if (!is_default(t.dtype) || (t.numel == 0 && t.dtype != DType::Float32) || imaginary) {
      extras.push_back(cat("dtype=", t.dtype));
    }
    if (t.device() != kCpu) extras.push_back("device='" + device_name(t.device()) + "'");
    if (t.grad_fn) {
      extras.push_back(cat("grad_fn=<", static_cast<const Node*>(t.grad_fn.get())->op->name, ">"));
    } else if (t.requires_grad) {
      extras.push_back("requires_grad=True");
    }
    for (const std::string& extra : extras) {
      const size_t newline = text.rfind('\n');
      const size_t used = newline == std::string::npos ? text.size() : text.size() - newline - 1;
      const bool wraps = static_cast<int>(used + extra.size()) + 3 > options.line_width;
      text += wraps ? ",\n" + std::string(prefix.size(), ' ') + extra : ", " + extra;
    }
    return to_python(text + ")");
  });
}

namespace {

PyObject* get_print_options(PyObject*, PyObject*) noexcept {
  return guarded([] {
    const PyRef scientific(options.scientific ? PyBool_FromLong(*options.scientific ? 1 : 0) : Py_NewRef(Py_None));
    return Py_BuildValue("iLLiO", options.precision, static_cast<long long>(options.threshold),
                         static_cast<long long>(options.edge_items), options.line_width, scientific.get());
  });
}

PyObject* set_print_options(PyObject*, PyObject* args) noexcept {
  int precision = 0;
  long long threshold = 0;
  long long edge_items = 0;
  int line_width = 0;
  PyObject* scientific = nullptr;
  if (PyArg_ParseTuple(args, "iLLiO", &precision, &threshold, &edge_items, &line_width, &scientific) == 0)
    return nullptr;
  options = {precision, threshold, edge_items, line_width,
             scientific == Py_None ? std::nullopt : std::optional(scientific == Py_True)};
  Py_RETURN_NONE;
}

}  // namespace

PyObject* tensor_str(PyObject* self) noexcept {
  return guarded([&] { return to_python(body(*tensor_of(self), " ", "", options.line_width)); });
}

void bind_printing(PyObject* module) {
  static PyMethodDef functions[] = {
      {"_print_options", get_print_options, METH_NOARGS,
       "Return this thread's precision, threshold, edgeitems, linewidth and sci_mode."},
      {"_set_print_options", set_print_options, METH_VARARGS,
       "Replace this thread's print options; gorgo.set_printoptions checks them."},
      {nullptr, nullptr, 0, nullptr},
  };
  check_status(PyModule_AddFunctions(module, functions));
}

PyObject* tensor_to_list(const Tensor& t) {
  check_readable(t, "tolist");
  return list_of(*on_host(t), 0, 0);
}

}  // namespace gorgo
