function c = load_cal(file)
% LOAD_CAL  A calibration written by "hil calib export": .mat, .json, or .h5 (h5read: MATLAB only).
%   c = load_cal('array.mat') has gain (M,1), coupling (M,M), positions_m (M,3), fc_hz (hertz).
%   Corrected samples of x (M,N):   y = c.coupling \ (x ./ c.gain);            % divide
%   Their steering vectors, theta in degrees, u from +y, positive towards +x:
%       a = exp(2j*pi*c.fc_hz/299792458 * c.positions_m * [sind(theta); cosd(theta); zeros(size(theta))]);
[~, ~, ending] = fileparts(file);
switch lower(ending)
  case '.mat'
    s = load(file); s = s.calibration;
    c.gain = s.gain(:); c.coupling = s.coupling;
    c.positions_m = s.positions_m + s.position_error_m; c.fc_hz = s.fc_hz;
  case '.json'
    s = jsondecode(fileread(file)); g = s.impairments.gain; k = s.impairments.coupling;
    c.gain = complex(g(:, 1), g(:, 2)); c.coupling = complex(k(:, :, 1), k(:, :, 2));
    c.positions_m = s.geometry.positions_m + s.impairments.position_error_m; c.fc_hz = s.fc_hz;
  case '.h5'
    g = h5read(file, '/impairments/gain'); k = h5read(file, '/impairments/coupling');
    c.gain = complex(g.r(:), g.i(:)); c.coupling = complex(k.r, k.i).';  % axes come reversed
    c.positions_m = (h5read(file, '/geometry/positions_m') + h5read(file, '/impairments/position_error_m')).';
    c.fc_hz = h5readatt(file, '/', 'fc_hz');
  otherwise
    error('load_cal: %s is not .mat, .json or .h5', file);
end
end
